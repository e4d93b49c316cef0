//! gRPC connections: accepted within bounds, kept for a bounded time, ended gracefully.
//!
//! This is HTTP/2 as hyper serves it rather than tonic's own server, which closes an aged connection without
//! asking its client to go first, and cannot bound a drain.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::delivery::Streams;
use super::dispatch::Dispatch;
use super::limits::Limits;
use super::tls::Tls;

/// The pause after a failed accept: most often the process is out of file descriptors.
pub(super) const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// The connections that are open, and how to serve them.
#[derive(Debug)]
pub(super) struct Connections {
    http2: Builder<Streams>,
    dispatch: Dispatch,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    draining: CancellationToken,
    /// Dropping it closes them all.
    open: JoinSet<()>,
}

impl Connections {
    pub(super) fn new(
        dispatch: Dispatch,
        limits: Limits,
        tls: Option<Arc<Tls>>,
        draining: CancellationToken,
    ) -> Self {
        let mut http2 = Builder::new(Streams);
        http2
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(limits.max_header_list_bytes)
            .max_pending_accept_reset_streams(limits.max_pending_reset_streams)
            .max_local_error_reset_streams(limits.max_error_reset_streams)
            .keep_alive_interval(limits.keep_alive_interval)
            .keep_alive_timeout(limits.keep_alive_timeout);
        Self { http2, dispatch, limits, tls, draining, open: JoinSet::new() }
    }

    /// Serves whoever connects, until dropped.
    pub(super) async fn accept(&mut self, listener: &TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = self.open.join_next() => continue,
            };
            match accepted {
                Ok((stream, address)) if self.open.len() < self.limits.max_connections => {
                    self.serve(stream, address);
                }
                Ok(_) => debug!(most = self.limits.max_connections, "a connection too many was closed"),
                Err(error) => {
                    warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                }
            }
        }
    }

    fn serve(&mut self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection keeps Nagle's delay");
        }
        let age = self.limits.max_connection_age.mul_f64(rand::rng().random_range(0.9..1.1));
        let limits = &self.limits;
        let (greeting_time, grace) = (limits.greeting_time, limits.max_connection_age_grace);
        let parting_time = limits.keep_alive_timeout;
        let connection = Connection {
            http2: self.http2.clone(),
            dispatch: self.dispatch.clone(),
            address,
            greeting_time,
            age,
            grace,
            parting_time,
            draining: self.draining.clone(),
        };
        match self.tls.clone() {
            None => self.open.spawn(connection.serve(stream)),
            Some(tls) => self.open.spawn(connection.serve_encrypted(stream, tls)),
        };
    }

    /// Asks every client to go and lets the calls under way end, within `drain_time`; then closes what is left.
    pub(super) async fn drain(mut self) {
        self.draining.cancel();
        let all_ended = async { while self.open.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.drain_time, all_ended).await.is_err() {
            let drain_time = self.limits.drain_time;
            warn!(open = self.open.len(), ?drain_time, "connections were closed on their calls");
        } else {
            info!("every call has ended");
        }
    }
}

/// A connection that was accepted, and how to serve it.
#[derive(Debug)]
struct Connection {
    http2: Builder<Streams>,
    dispatch: Dispatch,
    address: SocketAddr,
    greeting_time: Duration,
    age: Duration,
    grace: Duration,
    parting_time: Duration,
    draining: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream) {
        let greeted = async {
            let (reading, writing) = stream.into_split();
            greeting(reading, writing).await
        };
        if let Some(stream) = self.in_time(greeted).await {
            let dispatch = self.dispatch.of_connection(self.address, None);
            self.serve_greeted(stream, dispatch).await;
        }
    }

    async fn serve_encrypted(self, stream: TcpStream, tls: Arc<Tls>) {
        let greeted = async {
            let stream = tls.accept(stream, self.address).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let dispatch = self.dispatch.of_connection(self.address, shown.map(AsRef::as_ref));
            let (reading, writing) = tokio::io::split(stream);
            Ok((greeting(reading, writing).await?, dispatch))
        };
        if let Some((stream, dispatch)) = self.in_time(greeted).await {
            self.serve_greeted(stream, dispatch).await;
        }
    }

    /// What a client has to do before it is served, done within its time.
    async fn in_time<T>(&self, greeted: impl Future<Output = io::Result<T>>) -> Option<T> {
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.greeting_time, greeted) => greeted,
            () = self.draining.cancelled() => return None,
        };
        match greeted {
            Ok(Ok(greeted)) => return Some(greeted),
            Ok(Err(error)) => debug!(peer = %self.address, %error, "a client connected and did not greet"),
            Err(_) => debug!(peer = %self.address, "a client connected and did not greet in time"),
        }
        None
    }

    async fn serve_greeted(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, dispatch: Dispatch) {
        let ended = {
            let mut connection = pin!(self.http2.serve_connection(TokioIo::new(&mut stream), dispatch));
            let aged = async {
                if self.age.is_zero() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(self.age).await;
            };
            tokio::select! {
                ended = &mut connection => ended,
                () = self.draining.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                () = aged => {
                    connection.as_mut().graceful_shutdown();
                    match tokio::time::timeout(self.grace, connection).await {
                        Ok(ended) => ended,
                        Err(_) => return debug!("an aged connection was closed on its calls"),
                    }
                }
            }
        };
        if let Err(error) = ended {
            return debug!(%error, "a connection ended");
        }
        if tokio::time::timeout(self.parting_time, parting(stream)).await.is_err() {
            debug!(peer = %self.address, "a client was asked to go and did not close");
        }
    }
}

/// Reads, and forgets, what a client sends that has not heard the end yet. A socket that is closed on unread bytes
/// resets the connection, and a client that meets this as it writes may not read its last answers.
async fn parting(mut stream: impl AsyncRead + Unpin) {
    let mut forgotten = [0; 1024];
    while matches!(stream.read(&mut forgotten).await, Ok(1..)) {}
}

/// The connection, once as many bytes have come as HTTP/2 begins with; they are read again.
///
/// hyper waits for them without end, even when it is told to shut down.
async fn greeting<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut reading: R,
    writing: W,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    let mut greeting = [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()];
    reading.read_exact(&mut greeting).await?;
    Ok(join(io::Cursor::new(greeting).chain(reading), writing))
}
