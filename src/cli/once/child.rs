//! The command: started in a process group of its own, watched, stopped when its key is lost.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outlet::Outlets;
use super::ownership::{Granted, Lost, Ownership};
use super::pump::{Budget, Stream, pump};
use super::signals::{Signals, is_ending};
use crate::cli::client::AccessArgs;
use crate::cli::exit::Exit;

/// A command that runs.
pub(super) struct Child {
    process: tokio::process::Child,
    group: Pid,
    stdout: JoinHandle<Stream>,
    stderr: JoinHandle<Stream>,
    has_ended: CancellationToken,
}

/// Whether an error of [`Child::start`] proves that nothing ran: the command itself was refused. Other errors may
/// come from what follows its start.
pub(super) fn never_ran(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    const REFUSED: [Errno; 11] = [
        Errno::ENOENT,
        Errno::EACCES,
        Errno::EPERM,
        Errno::ENOEXEC,
        Errno::E2BIG,
        Errno::ENOTDIR,
        Errno::EISDIR,
        Errno::ELOOP,
        Errno::ENAMETOOLONG,
        Errno::ETXTBSY,
        Errno::EINVAL,
    ];
    match error.raw_os_error() {
        Some(number) => REFUSED.contains(&Errno::from_raw(number)),
        // A NUL in an argument, found before anything was started.
        None => error.kind() == std::io::ErrorKind::InvalidInput,
    }
}

/// A command that ended.
pub(super) struct Ended {
    status: Option<ExitStatus>,
    /// The last signal passed on that asks a process to end.
    asked: Option<Signal>,
    /// Why it was stopped, if it was.
    pub(super) lost: Option<Lost>,
    pub(super) output: Output,
}

/// What it printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
}

impl Output {
    /// How many bytes were not kept.
    pub(super) const fn omitted(&self) -> u64 {
        self.stdout.omitted + self.stderr.omitted
    }
}

impl Child {
    /// Starts the command; [`never_ran`] tells what an error means.
    pub(super) fn start(
        command: &[OsString],
        granted: &Granted,
        access: &AccessArgs,
        max_output: u64,
        outlets: &Outlets,
    ) -> std::io::Result<Self> {
        let [program, arguments @ ..] = command else {
            return Err(std::io::Error::other("no command is given"));
        };
        // In a group of its own the command cannot read the terminal; without this it would be stopped for trying.
        let stdin = if std::io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() };
        let key = granted.key();
        let mut process = Command::new(program)
            .args(arguments)
            .env("SEMEL_SERVER", granted.server())
            .envs(access.variables())
            .env("SEMEL_TENANT", key.tenant)
            .env("SEMEL_ENDPOINT", key.endpoint)
            .env("SEMEL_KEY", key.idempotency_key)
            .env("SEMEL_FENCE", granted.fence().to_string())
            .env("SEMEL_ATTEMPT", granted.attempt().to_string())
            .env("SEMEL_ATTEMPT_ID", granted.attempt_id())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = process.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let (Some(group), Some(stdout), Some(stderr)) = (group, process.stdout.take(), process.stderr.take())
        else {
            unreachable!("a process that was just started with pipes has an id and both pipes");
        };
        let has_ended = CancellationToken::new();
        let budget = Budget::new(max_output);
        Ok(Self {
            process,
            group,
            stdout: tokio::spawn(pump(stdout, outlets.stdout.clone(), budget.clone(), has_ended.clone())),
            stderr: tokio::spawn(pump(stderr, outlets.stderr.clone(), budget, has_ended.clone())),
            has_ended,
        })
    }

    /// Waits for the command's end, and for what it has printed: passes signals on, and stops it when ownership is lost.
    pub(super) async fn attend(
        mut self,
        ownership: &Ownership,
        signals: &mut Signals,
        kill_after: Duration,
    ) -> Ended {
        let group = self.group;
        let has_ended = self.has_ended.clone();
        let mut asked = None;
        let mut asked_late = None;
        let mut lost = None;
        let mut kill_at = None;
        let end = async {
            let status = self.process.wait().await.ok();
            self.has_ended.cancel();
            // A pump does not panic; if one did, its output would be missing, not wrong.
            let stdout = self.stdout.await.unwrap_or_default();
            let stderr = self.stderr.await.unwrap_or_default();
            (status, Output { stdout, stderr })
        };
        let mut end = std::pin::pin!(end);
        let mut losing = std::pin::pin!(ownership.lost());
        let (status, output) = loop {
            let kill = async {
                match kill_at {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = &mut end => break ended,
                why = &mut losing, if lost.is_none() => {
                    send(group, Signal::SIGTERM);
                    kill_at = Some(Instant::now() + why.grace(kill_after));
                    lost = Some(why);
                }
                () = kill => {
                    send(group, Signal::SIGKILL);
                    kill_at = None;
                }
                signal = signals.next() => {
                    send(group, signal);
                    if is_ending(signal) {
                        *(if has_ended.is_cancelled() { &mut asked_late } else { &mut asked }) = Some(signal);
                    }
                }
            }
        };
        if let Some(signal) = asked_late {
            // The command was gone already: this process is asked, and has its report still to make.
            signals.keep(signal);
        }
        if lost.is_some() {
            // What it left behind in its group must not go on either.
            send(group, Signal::SIGKILL);
        }
        Ended { status, asked, lost, output }
    }
}

/// Signals the whole group. That it has ended already is no error.
fn send(group: Pid, signal: Signal) {
    _ = killpg(group, signal);
}

impl Ended {
    /// The exit code of a command that ended by itself.
    pub(super) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// Whether it ended because it was told to: by a signal, or as a shell says so after one that was passed on.
    pub(super) fn was_interrupted(&self) -> bool {
        match self.code() {
            Some(code) => self.asked.is_some_and(|signal| code == 128 + signal as i32),
            None => true,
        }
    }

    /// The status to exit with.
    pub(super) fn exit(&self) -> Exit {
        match (self.code(), self.status.and_then(|status| status.signal())) {
            (Some(code), _) => Exit::passed_on(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Exit::of_signal(signal),
            (None, None) => Exit::UNREPORTED,
        }
    }

    /// How it ended, in words.
    pub(super) fn how(&self) -> String {
        match (self.code(), self.status.and_then(|status| status.signal())) {
            (Some(code), _) => format!("the command ended with exit status {code}"),
            (None, Some(signal)) => {
                let name =
                    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |name| name.to_string());
                format!("the command was ended by {name}")
            }
            (None, None) => "how the command ended is not known".to_owned(),
        }
    }
}
