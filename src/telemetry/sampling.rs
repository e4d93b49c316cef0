//! Which calls are traced.

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

use super::TelemetryError;
use super::environment::{self, refused};

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// What is known of a call when it begins, before anything is decided.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    /// Decides where there is no caller's trace, or its word does not count.
    root: Sampler,
    /// Whether a caller's trace is followed, sampled or not.
    parent_based: bool,
}

impl Default for Sampling {
    /// As the specification has it: the caller's word, and all where there is none.
    fn default() -> Self {
        Self { root: Sampler::AlwaysOn, parent_based: true }
    }
}

impl Sampling {
    /// As the standard variables say.
    pub(super) fn from_environment() -> Result<Self, TelemetryError> {
        let Some(name) = environment::read(SAMPLER)? else { return Ok(Self::default()) };
        let (parent_based, root) =
            name.strip_prefix("parentbased_").map_or((false, &*name), |root| (true, root));
        let root = match root {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(ratio()?),
            _ => {
                return Err(refused(
                    SAMPLER,
                    &name,
                    "write always_on, always_off or traceidratio, each also with parentbased_ before it",
                ));
            }
        };
        Ok(Self { root, parent_based })
    }

    /// Whether a call of this trace is sampled; `parent` is whether its caller's span is, where it has one.
    pub(super) fn samples(&self, parent: Option<bool>, trace_id: TraceId) -> bool {
        match parent {
            Some(sampled) if self.parent_based => sampled,
            _ => {
                let result = self.root.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}

fn ratio() -> Result<f64, TelemetryError> {
    let Some(text) = environment::read(ARGUMENT)? else { return Ok(1.0) };
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(refused(ARGUMENT, &text, "write a number from 0 to 1, such as 0.01")),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;
    use opentelemetry_sdk::trace::Sampler;

    use super::Sampling;

    #[test]
    fn the_caller_is_followed_where_that_is_the_rule() {
        let one = TraceId::from(7_u128);
        for root in [Sampler::AlwaysOn, Sampler::AlwaysOff] {
            let by_root = matches!(root, Sampler::AlwaysOn);
            let by_parent = Sampling { root: root.clone(), parent_based: true };
            let alone = Sampling { root, parent_based: false };
            for parent in [true, false] {
                assert_eq!(by_parent.samples(Some(parent), one), parent);
                assert_eq!(alone.samples(Some(parent), one), by_root);
            }
            assert_eq!((by_parent.samples(None, one), alone.samples(None, one)), (by_root, by_root));
        }
    }

    #[test]
    fn a_ratio_is_kept_by_the_traces_id() {
        let quarter = Sampling { root: Sampler::TraceIdRatioBased(0.25), parent_based: true };
        let step = u128::MAX / 1000;
        let sampled = (0..1000).filter(|at| {
            // The lower half of the id decides, so that all services decide alike.
            let id = TraceId::from(step.rotate_left(64).wrapping_mul(*at) | (1 << 127));
            quarter.samples(None, id)
        });
        let sampled = sampled.count();
        assert!((200..300).contains(&sampled), "{sampled}");
    }
}
