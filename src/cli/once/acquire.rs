//! Getting the key, or learning why not.

use std::time::Duration;

use semel_client::proto::begin_response::Decision;
use semel_client::proto::unresolved::Reason;
use semel_client::proto::{self, BeginRequest, InProgress, State, Unresolved};
use tokio::time::Instant;
use uuid::Uuid;

use super::ownership::Granted;
use super::signals::Signals;
use crate::cli::begin::{BeginOptions, begin, sent_length};
use crate::cli::client::Client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::lookup::lookup;

/// How long it is tried to give back a key that may have been granted without this process having learnt it.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(2);
/// How long to pause where the server does not say.
const PAUSE: Duration = Duration::from_millis(500);

/// What a start came to.
#[allow(clippy::large_enum_variant, reason = "taken apart at once by the one who asked; never kept")]
pub(super) enum Acquired {
    /// The command is to run.
    Granted(Granted),
    /// It already ran.
    Replayed(proto::Result),
    /// It must not run: why, and with which status.
    Not(Exit, String),
}

/// Begins, again and again for as long as `wait` while another attempt runs. The attempt id stays the same: no
/// attempt began, and if an answer was lost, this finds the attempt that did.
pub(super) async fn acquire(
    client: &Client,
    key: proto::Key,
    options: &BeginOptions,
    wait: Duration,
    signals: &mut Signals,
) -> Result<Acquired, Failure> {
    let mut request = options.request(key, Uuid::new_v4().to_string(), wait)?;
    let acquired = tokio::select! {
        acquired = begin_until(client, &mut request, Instant::now() + wait) => Ok(acquired),
        signal = signals.next_ending() => Err(signal),
    };
    let client = client.within(WITHDRAW_WITHIN)?;
    match acquired {
        Ok(Err(failure)) if failure.may_pass() => {
            let withdrawn = if is_under_way(&client, &request).await {
                withdraw(&client, request).await
            } else {
                String::new()
            };
            Ok(Acquired::Not(failure.exit(), format!("{failure}\nnothing ran{withdrawn}")))
        }
        Ok(acquired) => acquired,
        Err(signal) => {
            let withdrawn = withdraw(&client, request).await;
            Ok(Acquired::Not(
                Exit::of_signal(signal as i32),
                format!("{signal} came before the key was ours; nothing ran{withdrawn}"),
            ))
        }
    }
}

async fn begin_until(
    client: &Client,
    request: &mut BeginRequest,
    until: Instant,
) -> Result<Acquired, Failure> {
    loop {
        let began = Instant::now();
        let left = until.saturating_duration_since(began);
        request.wait = Some(sent_length(left));
        let pause = match begin(client, request).await {
            Ok(Decision::Started(started)) => {
                return Ok(Acquired::Granted(Granted::new(client, request, started, began)));
            }
            Ok(Decision::Replayed(replayed)) => {
                return Ok(Acquired::Replayed(replayed.result.unwrap_or_default()));
            }
            Ok(Decision::Unresolved(unresolved)) => {
                return Ok(Acquired::Not(Exit::UNRESOLVED, why_unresolved(&unresolved)));
            }
            Ok(Decision::InProgress(running)) if left.is_zero() => {
                return Ok(Acquired::Not(Exit::IN_PROGRESS, why_in_progress(&running)));
            }
            Ok(Decision::InProgress(running)) => pause_of(running.retry_after),
            // Ours was granted and ended by an operator before its answer reached us: nothing of it ran.
            Err(failure) if failure.reason() == "ATTEMPT_ENDED" => {
                request.attempt_id = Uuid::new_v4().to_string();
                PAUSE
            }
            Err(Failure::Refused(refusal)) if refusal.reason == "TOO_MANY_WAITERS" => {
                refusal.retry_after.unwrap_or(PAUSE)
            }
            Err(failure) => return Err(failure),
        };
        // The server held the call already, or is about to.
        let wake = (began + pause).min(until);
        tokio::time::sleep_until(wake).await;
    }
}

fn pause_of(retry_after: Option<prost_types::Duration>) -> Duration {
    retry_after.and_then(|pause| Duration::try_from(pause).ok()).unwrap_or(PAUSE)
}

/// Whether some attempt holds the key, or may: then it may be ours. Where nobody does, asking with a begin would start
/// an attempt only to end it, and use one up.
async fn is_under_way(client: &Client, request: &BeginRequest) -> bool {
    match lookup(client, request.key.clone()).await {
        Ok(record) => record.state() == State::InProgress,
        Err(failure) => failure.may_pass(),
    }
}

/// Gives back a key that may have been granted to a begin whose answer did not come, or was not waited for: the same
/// begin, sent again, tells. Says what came of it, for a message's end.
async fn withdraw(client: &Client, mut request: BeginRequest) -> String {
    request.wait = None;
    let asked = Instant::now();
    match begin(client, &request).await {
        Ok(Decision::Started(started)) => {
            Granted::new(client, &request, started, asked).release("nothing ran").await
        }
        Err(failure) if failure.may_pass() => format!(
            "; the key may have been granted to attempt {} all the same, and could not be given back: its lease has \
             to end, and then the endpoint's policy decides, or semel begin with this --attempt-id and semel abort do",
            request.attempt_id
        ),
        Ok(_) | Err(_) => String::new(),
    }
}

fn why_in_progress(running: &InProgress) -> String {
    if running.backing_off {
        "nothing ran: the last attempt asked for a pause; start this again later, or with a longer --wait"
            .to_owned()
    } else {
        format!(
            "nothing ran: attempt {} is running; start this again later, or with a longer --wait",
            running.attempt
        )
    }
}

fn why_unresolved(unresolved: &Unresolved) -> String {
    let why = match unresolved.reason() {
        Reason::AttemptsExhausted => "its attempts are used up",
        Reason::OutcomeUnknown | Reason::Unspecified => "nobody knows whether an earlier attempt did it",
    };
    let said = if unresolved.detail.is_empty() {
        String::new()
    } else {
        format!(" (its owner said: {})", unresolved.detail)
    };
    format!("nothing ran: {why}{said}; an operator has to resolve it (semel lookup, semel resolve)")
}
