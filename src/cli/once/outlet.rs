//! Passing bytes on to whoever reads this process's output, however slowly: nothing else waits for that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

use super::signals::Signals;
use crate::cli::output::printable;

/// How long the readers are waited for once this process was told to end, or to read that others did not.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(3);

/// One of this process's outputs.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    queue: mpsc::UnboundedSender<Bytes>,
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many bytes are not taken yet.
    left: usize,
    /// Why none will be any more; a reader that went away is not worth a word.
    error: Option<String>,
}

impl Outlet {
    fn new(mut to: impl AsyncWrite + Unpin + Send + 'static) -> Self {
        let (queue, mut queued) = mpsc::unbounded_channel::<Bytes>();
        let state = Arc::new(watch::Sender::new(State::default()));
        let told = state.clone();
        tokio::spawn(async move {
            let mut is_read = true;
            while let Some(bytes) = queued.recv().await {
                let written = if is_read { write(&mut to, &bytes).await } else { Ok(()) };
                told.send_modify(|state| {
                    state.left -= bytes.len();
                    if let Err(error) = &written
                        && error.kind() != std::io::ErrorKind::BrokenPipe
                    {
                        state.error = Some(error.to_string());
                    }
                });
                is_read = is_read && written.is_ok();
            }
        });
        Self { queue, state }
    }

    /// Passes `bytes` on in their turn, and does not wait for it.
    pub(super) fn pass(&self, bytes: Bytes) {
        self.state.send_modify(|state| state.left += bytes.len());
        // Whoever receives ends with this outlet, or with the runtime.
        _ = self.queue.send(bytes);
    }

    /// Waits until everything is taken.
    pub(super) async fn taken(&self) {
        // The sender is this outlet's own, so it is there.
        _ = self.state.subscribe().wait_for(|state| state.left == 0).await;
    }

    fn left(&self) -> usize {
        self.state.borrow().left
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Both outputs of this process.
#[derive(Clone, Debug)]
pub(super) struct Outlets {
    pub(super) stdout: Outlet,
    pub(super) stderr: Outlet,
}

impl Outlets {
    pub(super) fn new() -> Self {
        Self { stdout: Outlet::new(tokio::io::stdout()), stderr: Outlet::new(tokio::io::stderr()) }
    }

    /// Tells people something, on standard error.
    pub(super) fn say(&self, text: &str) {
        for line in text.lines() {
            self.stderr.pass(format!("semel: {}\n", printable(line)).into());
        }
    }

    /// Waits for the readers, for up to `within`, and no longer than until this process is told to end.
    pub(super) async fn finish(&self, within: Duration, signals: &mut Signals) {
        let within = if signals.was_told_to_end() { within.min(LAST_WORD_WITHIN) } else { within };
        tokio::select! {
            biased;
            () = self.taken() => return,
            _ = signals.next_ending() => {}
            () = tokio::time::sleep(within) => {}
        }
        let left = self.stdout.left() + self.stderr.left();
        self.say(&format!("nobody read the last {left} bytes of the output"));
        _ = tokio::time::timeout(within.min(LAST_WORD_WITHIN), self.stderr.taken()).await;
    }

    async fn taken(&self) {
        self.stdout.taken().await;
        self.stderr.taken().await;
    }

    /// Why one of them could not be written, if so.
    pub(super) fn error(&self) -> Option<String> {
        [&self.stdout, &self.stderr].iter().find_map(|outlet| outlet.state.borrow().error.clone())
    }
}
