//! Whom a run calls: one server, or several that share a store.

use std::fmt;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::run::RunError;
use crate::remote::Remote;

/// The pause before a call is sent again, after its connection broke or closed.
const PAUSE: Duration = Duration::from_millis(20);

/// The servers of a run; at least one.
#[derive(Clone, Debug)]
pub struct Servers {
    first: Remote,
    others: Vec<Remote>,
}

impl Servers {
    /// A server, and others on the same store, over all of which the calls are spread.
    pub const fn new(first: Remote, others: Vec<Remote>) -> Self {
        Self { first, others }
    }

    /// As many channels as asked for; each has a connection to every server. Fails where one cannot be reached now.
    pub(super) async fn connect(&self, channels: usize) -> Result<Vec<Channel>, RunError> {
        let reach = async |server: &Remote| {
            server.endpoint().connect().await.map_err(|error| RunError::Connect {
                server: server.endpoint().uri().to_string(),
                cause: causes(&error),
            })
        };
        if !self.are_several() {
            return try_join_all((0..channels).map(|_| reach(&self.first))).await;
        }
        // A balanced channel says of no server that it is not there.
        try_join_all(self.all().map(&reach)).await?;
        Ok((0..channels).map(|_| Channel::balance_list(self.all().map(Remote::endpoint))).collect())
    }

    /// Sends `message` once to a single server. Of several, to another one as well where the connection to the first
    /// broke: unchanged, so that it has the effect of being sent once. In either case it goes over another connection
    /// where the first closed before it began; all until `within` has passed.
    pub(super) async fn send<M: Clone, A, F>(
        &self,
        message: M,
        within: Duration,
        mut send: impl FnMut(Request<M>) -> F,
    ) -> Outcome<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let until = Instant::now() + within;
        let (mut resent, mut not_begun) = (0, 0);
        loop {
            // All of them are shown the same credential.
            let mut request = self.first.request(message.clone());
            request.set_timeout(until.saturating_duration_since(Instant::now()));
            let answer = send(request).await.map(Response::into_inner);
            let again = Instant::now() + PAUSE;
            let counted = match answer.as_ref().err().map(Failing::of) {
                Some(Failing::NotBegun) => &mut not_begun,
                Some(Failing::Broke) if self.are_several() => &mut resent,
                _ => return Outcome { answer, resent, not_begun },
            };
            if again >= until {
                return Outcome { answer, resent, not_begun };
            }
            *counted += 1;
            tokio::time::sleep_until(again).await;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Remote> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn are_several(&self) -> bool {
        !self.others.is_empty()
    }
}

impl From<Endpoint> for Servers {
    fn from(server: Endpoint) -> Self {
        Self::new(Remote::open(server), Vec::new())
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.all().map(|server| server.endpoint().uri().to_string()).collect();
        f.write_str(&addresses.join(","))
    }
}

/// What a call came to.
#[derive(Debug)]
pub(super) struct Outcome<A> {
    pub(super) answer: Result<A, Status>,
    /// How often it was sent again, though a server may have begun it.
    pub(super) resent: u64,
    /// How often it was sent again because no server had begun it.
    pub(super) not_begun: u64,
}

/// How a call came to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// The server answered with the error.
    Answered,
    /// The connection broke, and the server may have begun the call; or there was none.
    Broke,
    /// The connection was closing, and nobody began the call. gRPC libraries send such calls again by themselves
    /// ("transparent retry"); tonic leaves it to its caller.
    NotBegun,
}

impl Failing {
    fn of(status: &Status) -> Self {
        // A status that the server sent has no source; one that the transport made has.
        let mut cause = std::error::Error::source(status);
        let mut failing = if cause.is_some() { Self::Broke } else { Self::Answered };
        while let Some(error) = cause {
            // hyper cancels what it had not yet given to the connection when that closed.
            let was_queued = error.downcast_ref().is_some_and(hyper::Error::is_canceled);
            if was_queued || error.downcast_ref().is_some_and(refused) {
                failing = Self::NotBegun;
            }
            cause = error.source();
        }
        failing
    }
}

/// Whether a server said that it does nothing about a stream: one past the last that it names as it asks the connection
/// to go, or one too many (RFC 9113, 6.8 and 8.7).
fn refused(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
            || error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::io;

    use super::*;

    fn servers(count: usize) -> Servers {
        let server = Remote::open(Endpoint::from_static("http://127.0.0.1:1"));
        Servers::new(server.clone(), vec![server; count - 1])
    }

    fn broken() -> Status {
        Status::from_error(Box::new(io::Error::from(io::ErrorKind::ConnectionReset)))
    }

    /// Sends to `count` servers, to which the first connections break; gives what came of it, and how often.
    async fn send(count: usize, breaks: usize, then: Result<(), Status>) -> (Outcome<()>, usize) {
        let mut sent = 0;
        let answer = servers(count)
            .send((), Duration::from_secs(1), |request| {
                assert!(request.metadata().contains_key("grpc-timeout"));
                sent += 1;
                ready(if sent <= breaks { Err(broken()) } else { then.clone().map(Response::new) })
            })
            .await;
        (answer, sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_leads_to_another_server_where_there_is_one() {
        let (answer, sent) = send(3, 4, Ok(())).await;
        assert!(answer.answer.is_ok());
        assert_eq!((answer.resent, sent), (4, 5));
        let (answer, sent) = send(1, 1, Ok(())).await;
        assert!(answer.answer.is_err());
        assert_eq!((answer.resent, sent), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_is_an_answer_is_not_sent_again() {
        let (answer, sent) = send(3, 1, Err(Status::unavailable("the store does not answer"))).await;
        assert_eq!(answer.answer.unwrap_err().message(), "the store does not answer");
        assert_eq!(sent, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline_though_every_connection_breaks() {
        let (answer, sent) = send(2, usize::MAX, Ok(())).await;
        assert!(answer.answer.is_err());
        assert_eq!(sent, 50, "within a second, 20 ms apart");
    }
}
