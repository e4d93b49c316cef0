//! `semel once`: runs a command only if its key has not run.

mod acquire;
mod child;
mod outcome;
mod outlet;
mod ownership;
mod pump;
mod signals;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::acquire::{Acquired, acquire};
use self::child::{Child, Ended, never_ran};
use self::outcome::{Stored, Verdict};
use self::outlet::Outlets;
use self::ownership::{Lost, Ownership};
use self::signals::Signals;
use super::begin::BeginOptions;
use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::in_runtime;
use crate::config::{format_size, parse_duration, parse_size};
use crate::domain::Policy;

/// Run a command only if its key has not run, and replay its output and exit status to whoever asks again
#[derive(Debug, Args)]
#[command(after_long_help = LONG_HELP)]
pub(crate) struct Once {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    options: BeginOptions,
    /// How long to wait while another attempt runs
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    wait: Duration,
    /// What a non-zero exit status of the command means
    #[arg(long, value_enum, value_name = "MEANING", default_value_t)]
    on_failure: OnFailure,
    /// How much of the command's output is stored; more is passed on, but not replayed
    #[arg(long, value_name = "SIZE", default_value = "192KiB", value_parser = parse_max_output)]
    max_output: u64,
    /// How long the command may take to end by itself when ownership is lost: SIGTERM, then SIGKILL
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    kill_after: Duration,
    /// How long it is tried to report the outcome, and then to pass on the rest of the output to a slow reader
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    report_within: Duration,
    #[command(flatten)]
    target: Target,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What a non-zero exit status of the command means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnFailure {
    /// Nothing happened: the next start runs
    Release,
    /// It is final: the failure is stored, and replayed like a success
    Store,
    /// It may have happened: the policy of the endpoint decides whether the next start runs
    #[default]
    Unknown,
}

const LONG_HELP: &str = "\
The command's standard input, output and error are its own; both outputs are passed on as they come, and replayed \
to whoever starts this again. It finds SEMEL_SERVER, SEMEL_TENANT, SEMEL_ENDPOINT, SEMEL_KEY, SEMEL_FENCE, \
SEMEL_ATTEMPT and SEMEL_ATTEMPT_ID in its environment, so that `semel checkpoint` works in it as it is, and so that \
it can pass the fence to whatever can refuse a stale writer.

The lease is renewed while the command runs. When ownership is lost, because an operator took it or because the \
server could not be reached in time, the command's process group gets SIGTERM, and SIGKILL after --kill-after.

The exit status is the command's, also when it is replayed; 128 + N if signal N ended it. Statuses of semel's own \
are 1, 2 and 100 to 127 (semel --help).";

impl Once {
    pub(crate) fn run(&self) -> Exit {
        match in_runtime(self.once_and_finish()) {
            Ok(exit) => exit,
            Err(failure) => {
                eprintln!("semel: {failure}");
                failure.exit()
            }
        }
    }

    async fn once_and_finish(&self) -> Result<Exit, Failure> {
        let mut signals = Signals::new()
            .map_err(|error| Failure::Local(format!("cannot handle signals, so nothing ran: {error}")))?;
        let outlets = Outlets::new();
        let exit = self.once(&mut signals, &outlets).await.unwrap_or_else(|failure| {
            outlets.say(&failure.to_string());
            failure.exit()
        });
        outlets.finish(self.report_within, &mut signals).await;
        Ok(exit)
    }

    async fn once(&self, signals: &mut Signals, outlets: &Outlets) -> Result<Exit, Failure> {
        let client = Client::new(&self.target.connection)?;
        let key = self.key.of(&self.target.tenant);
        let granted = match acquire(&client, key, &self.options, self.wait, signals).await? {
            Acquired::Granted(granted) => granted,
            Acquired::Replayed(result) => {
                let exit = outcome::replay(&result, outlets);
                outlets.finish(self.report_within, signals).await;
                return match outlets.error() {
                    Some(error) => Err(Failure::Local(format!("cannot write what is replayed: {error}"))),
                    None => Ok(exit),
                };
            }
            Acquired::Not(exit, why) => {
                outlets.say(&why);
                return Ok(exit);
            }
        };
        let held = tokio::select! {
            held = granted.hold(self.kill_after) => held,
            signal = signals.next_ending() => {
                let released = granted.release("told to end; nothing ran").await;
                outlets.say(&format!("{signal} came before the command was started; nothing ran{released}"));
                return Ok(Exit::of_signal(signal as i32));
            }
        };
        let held = match held {
            Ok(held) => held,
            Err(lost) => {
                let released = match &lost {
                    Lost::Refused(_) => String::new(),
                    Lost::NotRenewed { .. } => granted.release("nothing ran").await,
                };
                outlets.say(&format!("the command was not started: {}{released}", lost.why()));
                return Ok(Exit::FENCE_LOST);
            }
        };
        let ownership = Ownership { granted, held };
        let child = match Child::start(
            &self.command,
            &ownership.granted,
            &self.target.connection.access,
            self.max_output,
            outlets,
        ) {
            Ok(child) => child,
            Err(error) if !never_ran(&error) => {
                let why = format!("it is not known whether the command started: {error}");
                let verdict = Verdict::Unknown(why.clone());
                let stored = ownership.report(&verdict, self.report_within, signals, outlets).await;
                outlets.say(&format!("{why}; {}", stored.words()));
                return Ok(Exit::UNREPORTED);
            }
            Err(error) => {
                let released = ownership.granted.release("the command could not be started").await;
                outlets.say(&format!("cannot start the command: {error}{released}"));
                return Ok(if error.kind() == std::io::ErrorKind::NotFound {
                    Exit::NOT_FOUND_COMMAND
                } else {
                    Exit::NOT_EXECUTABLE
                });
            }
        };
        let ended = child.attend(&ownership, signals, self.kill_after).await;
        let (exit, text) = self.settle(&ownership, ended, signals, outlets).await;
        outlets.say(&text);
        Ok(exit)
    }

    /// Reports what became of the command, and says so. From here on no path may stay silent about an outcome that is
    /// not stored.
    async fn settle(
        &self,
        ownership: &Ownership,
        ended: Ended,
        signals: &mut Signals,
        outlets: &Outlets,
    ) -> (Exit, String) {
        let how = ended.how();
        if let Some(lost @ Lost::Refused(_)) = &ended.lost {
            let why = lost.why();
            return (
                Exit::FENCE_LOST,
                format!("{why}; the command was stopped ({how}), and its outcome is not stored"),
            );
        }
        let verdict = self.verdict(&ended);
        let stored = ownership.report(&verdict, self.report_within, signals, outlets).await;
        match (stored, &ended.lost) {
            (Stored::Yes { cut }, None) => (ended.exit(), what_is_kept(&verdict, &ended, cut)),
            (Stored::Yes { .. }, Some(lost)) => {
                let why = lost.why();
                (
                    Exit::FENCE_LOST,
                    format!("{why}; the command was stopped ({how}), and its outcome is unknown"),
                )
            }
            // Nothing was to be kept: somebody else owns the key, or it is settled.
            (Stored::Refused(failure), None) if !matches!(verdict, Verdict::Complete(_)) => {
                (ended.exit(), format!("{how}; the key could not be given up: {failure}"))
            }
            (Stored::Refused(failure), _) if failure.exit() == Exit::CONFLICT => (
                Exit::CONFLICT,
                format!(
                    "the key was settled by somebody else, and this outcome is not stored: {how}; {failure}"
                ),
            ),
            (Stored::Refused(failure), _) => (
                if failure.exit() == Exit::FENCE_LOST { Exit::FENCE_LOST } else { Exit::UNREPORTED },
                format!(
                    "THE OUTCOME IS NOT STORED, and the command may run a second time, or already has: {how}; the \
                     server refused the report: {failure}"
                ),
            ),
            (Stored::Unanswered(failure), _) => (
                Exit::UNREPORTED,
                format!(
                    "THE OUTCOME IS NOT STORED, and the command may run a second time once the lease is over: {how}; \
                     {failure}"
                ),
            ),
        }
    }

    fn verdict(&self, ended: &Ended) -> Verdict {
        if ended.lost.is_some() || ended.was_interrupted() {
            return Verdict::Unknown(ended.how());
        }
        match (ended.code(), self.on_failure) {
            (Some(0), _) | (Some(_), OnFailure::Store) => Verdict::Complete(outcome::result(ended)),
            (Some(_), OnFailure::Release) => Verdict::Release(ended.how()),
            (Some(_) | None, _) => Verdict::Unknown(ended.how()),
        }
    }
}

/// No policy allows a larger result, and no server a much larger message.
fn parse_max_output(text: &str) -> Result<u64, String> {
    let most = Policy::RESULT_BYTES_LIMIT as u64;
    match parse_size(text)? {
        size if size > most => {
            Err(format!("is more than a result may hold; write up to {}", format_size(most)))
        }
        size => Ok(size),
    }
}

/// What people are told of a verdict that is stored; nothing where there is nothing to add.
fn what_is_kept(verdict: &Verdict, ended: &Ended, cut: bool) -> String {
    match verdict {
        Verdict::Complete(_) if cut => {
            "the command's output is larger than the policy or the server allows; its exit status is \
                                        stored, its output is not"
                .to_owned()
        }
        Verdict::Complete(_) if ended.output.omitted() > 0 => format!(
            "the command's output is larger than --max-output; its last {} bytes are not stored",
            ended.output.omitted()
        ),
        Verdict::Complete(_) => String::new(),
        Verdict::Release(how) => format!("{how}; the key is released, and the next start runs"),
        Verdict::Unknown(how) => format!(
            "{how}; its outcome is given up as unknown, and the endpoint's policy decides whether the next start runs"
        ),
    }
}
