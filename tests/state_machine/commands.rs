//! Every command, in each of the forms that the tables tell apart.

use std::time::Duration;

use bytes::Bytes;
use semel::domain::{
    Abort, Begin, BeginOnStore, CheckpointName, Command, Complete, Detail, Disposition, Fence, Forget,
    Labels, Lookup, OnLostLease, Policy, PositiveDuration, Record, Renew, Resolution, Resolve, Restored,
    SaveCheckpoint, Timestamp, Transition, decide,
};

use crate::kinds::kinds;
use crate::states::{
    MICROSECOND, NOW, SECOND, ago, ahead, detail, fence_at, fingerprint, id, labels, note, result, trace,
};
use crate::words::{self, Scene};

/// What every command is decided under, where its name says nothing else.
fn policy() -> Policy {
    Policy {
        lease: 30 * SECOND,
        max_lease: 100 * SECOND,
        retention: 1000 * SECOND,
        max_retention: 5000 * SECOND,
        unresolved_retention: 9000 * SECOND,
        max_retry_after: 60 * SECOND,
        max_attempts: 3,
        clock_skew_allowance: SECOND,
        ..Policy::default()
    }
}

fn mark_unknown() -> Policy {
    Policy { on_lost_lease: OnLostLease::MarkUnknown, ..policy() }
}

fn unbounded() -> Policy {
    Policy { max_attempts: 0, ..policy() }
}

/// From a record to the answer, in words, and what is to be stored.
type Decide = dyn Fn(Option<&Record>) -> (String, Option<Record>);

/// One command of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The domain's type, and its disposition or resolution where it has one.
    pub(crate) form: &'static str,
    pub(crate) decide: Box<Decide>,
}

/// `make` gets the fence of the record, for a caller who holds it.
fn row<C: Form + 'static>(
    name: &'static str,
    make: impl Fn(Fence) -> C + 'static,
    say: impl Fn(C::Answer, Scene<'_>) -> String + 'static,
) -> Row {
    under(policy(), name, make, say)
}

/// The same where `policy` is in force.
fn under<C: Form + 'static>(
    policy: Policy,
    name: &'static str,
    make: impl Fn(Fence) -> C + 'static,
    say: impl Fn(C::Answer, Scene<'_>) -> String + 'static,
) -> Row {
    let form = make(fence_at(NOW)).form();
    let decide = move |before: Option<&Record>| {
        let command = make(before.map_or(fence_at(NOW), Record::fence));
        match decide(before, &command, &policy, NOW) {
            Transition::Unchanged(Ok(answer)) => (say(answer, Scene { before, next: None }), None),
            Transition::Unchanged(Err(refusal)) => (words::refusal(refusal), None),
            Transition::Change { next, answer } => {
                (say(answer, Scene { before, next: Some(&next) }), Some(next))
            }
        }
    };
    Row { name, form, decide: Box::new(decide) }
}

trait Form: Command {
    fn form(&self) -> &'static str;
}

kinds! {
    disposition(Disposition) in DISPOSITIONS {
        Disposition::Release => "Abort: release",
        Disposition::OutcomeUnknown => "Abort: outcome unknown",
    }
}

kinds! {
    resolution(&Resolution) in RESOLUTIONS {
        Resolution::Result(_) => "Resolve: it happened",
        Resolution::Release => "Resolve: release",
    }
}

impl Form for Abort {
    fn form(&self) -> &'static str {
        disposition(self.disposition)
    }
}

impl Form for Resolve {
    fn form(&self) -> &'static str {
        resolution(&self.resolution)
    }
}

macro_rules! single_form {
    ($($command:ident $(<$lifetime:lifetime>)?)+) => {
        /// The commands that have no disposition and no resolution.
        pub(crate) const SINGLE_FORMS: &[&str] = &[$(stringify!($command)),+];

        $(impl Form for $command $(<$lifetime>)? {
            fn form(&self) -> &'static str {
                stringify!($command)
            }
        })+
    };
}

single_form! { Begin BeginOnStore<'_> Complete Renew SaveCheckpoint Lookup Forget }

/// By `b`, who made no attempt so far.
fn begin() -> Begin {
    Begin {
        attempt_id: id('b'),
        fingerprint: Some(fingerprint("request")),
        lease: None,
        retention: None,
        first_sent: None,
        labels: labels('b'),
        traceparent: Some(trace('b')),
        may_open: true,
    }
}

/// The same call under the id of the attempt that is stored. A copy would carry its labels and trace too: that these are
/// `b`'s shows that the record keeps what it has.
fn begin_again() -> Begin {
    Begin { attempt_id: id('a'), ..begin() }
}

fn complete(fence: Fence) -> Complete {
    Complete { fence, attempt_id: id('a'), result: result("done"), retention: None }
}

fn release(fence: Fence) -> Abort {
    Abort {
        fence,
        attempt_id: id('a'),
        disposition: Disposition::Release,
        detail: Detail::default(),
        retry_after: Duration::ZERO,
    }
}

fn unknown(fence: Fence) -> Abort {
    Abort { disposition: Disposition::OutcomeUnknown, ..release(fence) }
}

fn renew(fence: Fence) -> Renew {
    Renew { fence, attempt_id: id('a'), lease: None }
}

fn save(fence: Fence, value: &'static str) -> SaveCheckpoint {
    SaveCheckpoint {
        fence,
        attempt_id: id('a'),
        name: CheckpointName::new("charged").unwrap(),
        value: Bytes::from_static(value.as_bytes()),
    }
}

fn it_happened(fence: Fence) -> Resolve {
    let resolution = Resolution::Result(result("done"));
    Resolve { fence, resolution, note: note("checked with the bank"), force: false }
}

fn resolve_release(fence: Fence) -> Resolve {
    Resolve { resolution: Resolution::Release, ..it_happened(fence) }
}

fn earlier(fence: Fence) -> Fence {
    Fence::new(fence.get() - 1).unwrap()
}

fn later(fence: Fence) -> Fence {
    Fence::new(fence.get() + 1).unwrap()
}

fn positive(seconds: u32) -> PositiveDuration {
    PositiveDuration::new(seconds * SECOND).unwrap()
}

/// Forms of one command stand together: the first, and then those that are told by how they differ from it.
pub(crate) fn commands() -> Vec<Vec<Row>> {
    vec![
        begins(),
        begins_on_a_restored_store(),
        begins_again(),
        completes(),
        releases(),
        unknowns(),
        renews(),
        saves(),
        vec![row("Lookup", |_| Lookup, words::whole)],
        results_by_operators(),
        releases_by_operators(),
        forgets(),
    ]
}

fn begin_row(name: &'static str, begin: Begin) -> Row {
    row(name, move |_| begin.clone(), words::begin)
}

fn begins() -> Vec<Row> {
    let first_sent = |moment, retention| Begin {
        first_sent: Some(moment),
        retention: Some(positive(retention)),
        ..begin()
    };
    let raised = Policy { max_attempts: 4, ..policy() };
    vec![
        begin_row("Begin by another attempt", begin()),
        begin_row(
            "Begin without labels and trace",
            Begin { labels: Labels::default(), traceparent: None, ..begin() },
        ),
        begin_row(
            "Begin with another fingerprint",
            Begin { fingerprint: Some(fingerprint("other")), ..begin() },
        ),
        begin_row("Begin without a fingerprint", Begin { fingerprint: None, ..begin() }),
        begin_row(
            "Begin for 50 s, kept for 300 s",
            Begin { lease: Some(positive(50)), retention: Some(positive(300)), ..begin() },
        ),
        begin_row(
            "Begin for longer and kept for longer than allowed",
            Begin { lease: Some(positive(999)), retention: Some(positive(99_999)), ..begin() },
        ),
        begin_row("Begin first sent 5 s ago", first_sent(ago(5), 1000)),
        begin_row("Begin first sent 10 s ago, at the known expiry", first_sent(ago(10), 1000)),
        begin_row(
            "Begin first sent 1 µs before the known expiry",
            first_sent(ago(10).minus(MICROSECOND), 1000),
        ),
        begin_row("Begin first sent in the future", first_sent(ahead(20), 1000)),
        begin_row("Begin first sent as long ago as its retention", first_sent(ago(5), 5)),
        begin_row("Begin first sent 1 µs before its retention", first_sent(ago(5).minus(MICROSECOND), 5)),
        begin_row("Begin where the tenant has no room for an open key", Begin { may_open: false, ..begin() }),
        under(mark_unknown(), "Begin under mark_unknown", |_| begin(), words::begin),
        under(unbounded(), "Begin where attempts are not bounded any more", |_| begin(), words::begin),
        under(raised, "Begin where a fourth attempt is allowed by now", |_| begin(), words::begin),
    ]
}

/// `command` changes a Begin by another attempt on a store that was restored 100 s ago from a backup of 200 s ago.
fn on_store(name: &'static str, change: impl FnOnce(&mut Begin, &mut BeginOnStore<'_>)) -> Row {
    let restored = Some(Restored { at: ago(100), backup_at: ago(200), until: ahead(9000) });
    let mut sent = begin();
    let asked = begin();
    let mut command = BeginOnStore { begin: &asked, retry: false, restored };
    change(&mut sent, &mut command);
    let BeginOnStore { retry, restored, .. } = command;
    let sent: &'static Begin = Box::leak(Box::new(sent));
    row(name, move |_| BeginOnStore { begin: sent, retry, restored }, words::begin)
}

fn begins_on_a_restored_store() -> Vec<Row> {
    // `longest_kept` of the policy: a lease, then unresolved_retention, then the hour of grace.
    let over_by_policy = ago(100 + 9000 + 3600);
    let first_sent = |moment: Timestamp| {
        move |begin: &mut Begin, _: &mut BeginOnStore<'_>| begin.first_sent = Some(moment)
    };
    let marked = |at: Timestamp, until: Timestamp| {
        move |_: &mut Begin, command: &mut BeginOnStore<'_>| {
            command.retry = true;
            command.restored = Some(Restored { at, backup_at: at, until });
        }
    };
    vec![
        on_store("BeginOnStore that was restored, as a first try", |_, _| {}),
        on_store("BeginOnStore that was restored, as a retry", |_, command| command.retry = true),
        on_store("BeginOnStore that was restored, first sent when it was", first_sent(ago(100))),
        on_store(
            "BeginOnStore that was restored, first sent 1 µs before",
            first_sent(ago(100).minus(MICROSECOND)),
        ),
        on_store("BeginOnStore that was never restored, as a retry", |_, command| {
            command.retry = true;
            command.restored = None;
        }),
        on_store("BeginOnStore whose mark is over, as a retry", marked(over_by_policy, NOW)),
        on_store(
            "BeginOnStore whose mark is in force for 1 µs more, as a retry",
            marked(over_by_policy, NOW.plus(MICROSECOND)),
        ),
        on_store(
            "BeginOnStore whose mark is in force for 1 µs more by the policy, as a retry",
            marked(over_by_policy.plus(MICROSECOND), NOW),
        ),
    ]
}

fn begins_again() -> Vec<Row> {
    vec![
        begin_row("Begin by the same attempt", begin_again()),
        under(
            mark_unknown(),
            "Begin by the same attempt, for 50 s, under mark_unknown",
            |_| Begin { lease: Some(positive(50)), ..begin_again() },
            words::begin,
        ),
        begin_row(
            "Begin by the same attempt with another fingerprint",
            Begin { fingerprint: Some(fingerprint("other")), ..begin_again() },
        ),
        begin_row(
            "Begin by the same attempt, first sent 20 s ago",
            Begin { first_sent: Some(ago(20)), ..begin_again() },
        ),
        begin_row(
            "Begin by the same attempt where the tenant has no room for an open key",
            Begin { may_open: false, ..begin_again() },
        ),
    ]
}

fn completes() -> Vec<Row> {
    fn kept_for(name: &'static str, retention: u32) -> Row {
        let make = move |fence| Complete { retention: Some(positive(retention)), ..complete(fence) };
        row(name, make, words::complete)
    }
    vec![
        row("Complete", complete, words::complete),
        row(
            "Complete with another result",
            |fence| Complete { result: result("other"), ..complete(fence) },
            words::complete,
        ),
        kept_for("Complete, kept for longer than its Begin said", 2000),
        kept_for("Complete, kept for less than its Begin said", 100),
        kept_for("Complete, kept for longer than allowed", 99_999),
        row("Complete with an earlier fence", |fence| complete(earlier(fence)), words::complete),
        row("Complete with a later fence", |fence| complete(later(fence)), words::complete),
        row(
            "Complete with another attempt's id",
            |fence| Complete { attempt_id: id('b'), ..complete(fence) },
            words::complete,
        ),
    ]
}

fn abort(name: &'static str, make: impl Fn(Fence) -> Abort + 'static) -> Row {
    row(name, make, |answer, _| words::ok(answer.repeated))
}

fn releases() -> Vec<Row> {
    vec![
        abort("Abort: release", release),
        abort("Abort: release with a detail and a pause", |fence| Abort {
            detail: detail("bank down"),
            retry_after: 7 * SECOND,
            ..release(fence)
        }),
        abort("Abort: release with a pause above the bound", |fence| Abort {
            retry_after: 999 * SECOND,
            ..release(fence)
        }),
        abort("Abort: release with an earlier fence", |fence| release(earlier(fence))),
        abort("Abort: release with a later fence", |fence| release(later(fence))),
        abort("Abort: release with another attempt's id", |fence| Abort {
            attempt_id: id('b'),
            ..release(fence)
        }),
    ]
}

fn unknowns() -> Vec<Row> {
    vec![
        abort("Abort: outcome unknown", unknown),
        abort("Abort: outcome unknown with a detail and a pause", |fence| Abort {
            detail: detail("bank down"),
            retry_after: 7 * SECOND,
            ..unknown(fence)
        }),
        abort("Abort: outcome unknown with a pause above the bound", |fence| Abort {
            retry_after: 999 * SECOND,
            ..unknown(fence)
        }),
        abort("Abort: outcome unknown with an earlier fence", |fence| unknown(earlier(fence))),
        abort("Abort: outcome unknown with a later fence", |fence| unknown(later(fence))),
        abort("Abort: outcome unknown with another attempt's id", |fence| Abort {
            attempt_id: id('b'),
            ..unknown(fence)
        }),
    ]
}

fn renews() -> Vec<Row> {
    fn renew_for(name: &'static str, lease: u32) -> Row {
        row(name, move |fence| Renew { lease: Some(positive(lease)), ..renew(fence) }, words::renew)
    }
    vec![
        row("Renew", renew, words::renew),
        renew_for("Renew for 5 s", 5),
        renew_for("Renew for 20 s", 20),
        renew_for("Renew for longer than allowed", 999),
        row("Renew with an earlier fence", |fence| renew(earlier(fence)), words::renew),
        row("Renew with a later fence", |fence| renew(later(fence)), words::renew),
        row(
            "Renew with another attempt's id",
            |fence| Renew { attempt_id: id('b'), ..renew(fence) },
            words::renew,
        ),
    ]
}

fn saves() -> Vec<Row> {
    fn save_row(name: &'static str, make: impl Fn(Fence) -> SaveCheckpoint + 'static) -> Row {
        row(name, make, |answer, _| words::ok(answer.repeated))
    }
    vec![
        save_row("SaveCheckpoint charged=yes (10 bytes)", |fence| save(fence, "yes")),
        save_row("SaveCheckpoint charged=yes! (11 bytes)", |fence| save(fence, "yes!")),
        save_row("SaveCheckpoint with an earlier fence", |fence| save(earlier(fence), "yes")),
        save_row("SaveCheckpoint with a later fence", |fence| save(later(fence), "yes")),
        save_row("SaveCheckpoint with another attempt's id", |fence| SaveCheckpoint {
            attempt_id: id('b'),
            ..save(fence, "yes")
        }),
    ]
}

fn resolve(name: &'static str, make: impl Fn(Fence) -> Resolve + 'static) -> Row {
    row(name, make, words::whole)
}

fn results_by_operators() -> Vec<Row> {
    vec![
        resolve("Resolve: it happened", it_happened),
        resolve("Resolve: it happened, by force", |fence| Resolve { force: true, ..it_happened(fence) }),
        resolve("Resolve: it happened, with another result", |fence| Resolve {
            resolution: Resolution::Result(result("other")),
            ..it_happened(fence)
        }),
        resolve("Resolve: it happened, with another note", |fence| Resolve {
            note: note("guessed"),
            ..it_happened(fence)
        }),
        resolve("Resolve: it happened, by force with an earlier fence", |fence| Resolve {
            force: true,
            ..it_happened(earlier(fence))
        }),
        resolve("Resolve: it happened, by force with a later fence", |fence| Resolve {
            force: true,
            ..it_happened(later(fence))
        }),
    ]
}

fn releases_by_operators() -> Vec<Row> {
    vec![
        resolve("Resolve: release", resolve_release),
        under(
            unbounded(),
            "Resolve: release, where attempts are not bounded any more",
            resolve_release,
            words::whole,
        ),
        resolve("Resolve: release, by force", |fence| Resolve { force: true, ..resolve_release(fence) }),
        resolve("Resolve: release, with another note", |fence| Resolve {
            note: note("guessed"),
            ..resolve_release(fence)
        }),
        resolve("Resolve: release, by force with an earlier fence", |fence| Resolve {
            force: true,
            ..resolve_release(earlier(fence))
        }),
        resolve("Resolve: release, by force with a later fence", |fence| Resolve {
            force: true,
            ..resolve_release(later(fence))
        }),
    ]
}

fn forgets() -> Vec<Row> {
    fn forget(name: &'static str, make: impl Fn(Fence) -> Forget + 'static) -> Row {
        row(name, make, |(), _| words::ok(false))
    }
    vec![
        forget("Forget", |fence| Forget { fence, force: false }),
        forget("Forget by force", |fence| Forget { fence, force: true }),
        forget("Forget by force with an earlier fence", |fence| Forget {
            fence: earlier(fence),
            force: true,
        }),
        forget("Forget by force with a later fence", |fence| Forget { fence: later(fence), force: true }),
    ]
}
