//! What stands between two who speak over TCP: the same address whoever is behind it, answers that get lost, bytes that
//! arrive late or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Passes bytes on, until it is told otherwise.
#[derive(Debug)]
pub(crate) struct Cuts {
    pub(crate) address: String,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    behind: Mutex<String>,
    /// What comes from the server is dropped.
    is_mute: AtomicBool,
    /// Nothing comes through, either way.
    is_held: watch::Sender<bool>,
    /// Connections made before the last change are cut.
    cut: watch::Sender<u64>,
}

impl Cuts {
    /// Stands before the server at `behind`, an address with a port.
    pub(crate) async fn before(behind: &str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), behind)
    }

    /// The same, on a listener.
    pub(crate) fn on(listener: TcpListener, behind: &str) -> Self {
        let address = listener.local_addr().expect("it is bound").to_string();
        let behind = Mutex::new(behind.to_owned());
        let (is_mute, is_held) = (AtomicBool::new(false), watch::Sender::new(false));
        let shared = Arc::new(Shared { behind, is_mute, is_held, cut: watch::Sender::new(0) });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// The server is elsewhere from now on.
    pub(crate) fn lead_to(&self, behind: &str) {
        behind.clone_into(&mut self.shared.behind.lock().unwrap_or_else(PoisonError::into_inner));
        self.cut();
    }

    /// Whether calls come through and answers do not.
    pub(crate) fn set_mute(&self, is_mute: bool) {
        self.shared.is_mute.store(is_mute, Ordering::SeqCst);
    }

    /// Whether bytes are kept back, both ways, until they are not: then they arrive, whoever still waits for them.
    pub(crate) fn set_held(&self, is_held: bool) {
        self.shared.is_held.send_replace(is_held);
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.shared.cut.send_modify(|cut| *cut += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((caller, _)) = listener.accept().await {
        let mut cut = shared.cut.subscribe();
        let shared = shared.clone();
        tokio::spawn(async move {
            let behind = shared.behind.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Ok(server) = TcpStream::connect(behind).await else { return };
            // Else a small write waits for the acknowledgement of the one before.
            _ = (caller.set_nodelay(true), server.set_nodelay(true));
            let (from_caller, to_caller) = caller.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = pass(from_caller, to_server, &shared, false) => {}
                () = pass(from_server, to_caller, &shared, true) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, is_from_server: bool) {
    let mut is_held = shared.is_held.subscribe();
    let mut buffer = vec![0; 16 << 10];
    let mut has_lost = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        // What came after lost bytes would be misread.
        has_lost |= is_from_server && shared.is_mute.load(Ordering::SeqCst);
        if has_lost {
            continue;
        }
        if is_held.wait_for(|is_held| !is_held).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
