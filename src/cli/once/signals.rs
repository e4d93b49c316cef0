//! Signals that this process gets on the command's behalf.

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What is passed on to the command.
const FORWARDED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// The signals that came in, in order.
#[derive(Debug)]
pub(super) struct Signals {
    coming: mpsc::UnboundedReceiver<Signal>,
    /// One that was looked at and is still to be obeyed.
    kept: Option<Signal>,
    told_to_end: bool,
}

impl Signals {
    /// Takes the signals over from now on, but not those that this process was started to ignore (nohup).
    pub(super) fn new() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ignored = ignored();
        for forwarded in FORWARDED {
            if ignored & (1 << (forwarded as u32 - 1)) != 0 {
                continue;
            }
            let mut stream = signal(SignalKind::from_raw(forwarded as i32))?;
            let sender = sender.clone();
            tokio::spawn(
                async move { while stream.recv().await.is_some() && sender.send(forwarded).is_ok() {} },
            );
        }
        // Control-Z must not stop this process while the command goes on: its lease would not be renewed.
        let mut stop = signal(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
        tokio::spawn(async move { while stop.recv().await.is_some() {} });
        Ok(Self { coming: receiver, kept: None, told_to_end: false })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Signal {
        if let Some(signal) = self.kept.take() {
            return signal;
        }
        match self.coming.recv().await {
            Some(signal) => {
                self.told_to_end |= is_ending(signal);
                signal
            }
            // All are ignored, so none comes.
            None => std::future::pending().await,
        }
    }

    /// Has the next look find this signal again.
    pub(super) const fn keep(&mut self, signal: Signal) {
        self.kept = Some(signal);
    }

    /// Whether one has come that asks this process to end.
    pub(super) const fn was_told_to_end(&self) -> bool {
        self.told_to_end
    }

    /// The next signal that asks this process to end.
    pub(super) async fn next_ending(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if is_ending(signal) {
                return signal;
            }
        }
    }
}

/// Whether the signal asks a process to end.
pub(super) const fn is_ending(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT)
}

/// A bit for each signal that this process ignores. Linux tells it; elsewhere none is assumed.
fn ignored() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })
        .unwrap_or(0)
}
