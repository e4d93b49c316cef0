//! What a server costs that does nothing: the yardstick for the calls of a real one.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::proto::begin_response::Decision;
use crate::proto::idempotency_service_server::{IdempotencyService, IdempotencyServiceServer};
use crate::proto::{
    AbortRequest, AbortResponse, BatchBeginRequest, BatchBeginResponse, BatchCompleteRequest,
    BatchCompleteResponse, BeginRequest, BeginResponse, CompleteRequest, CompleteResponse, LookupRequest,
    LookupResponse, RenewRequest, RenewResponse, SaveCheckpointRequest, SaveCheckpointResponse, Started,
};

/// Answers every Begin at once with Started and every Complete with yes, and keeps nothing: the same messages over the same transport, and no
/// work between them.
#[derive(Debug, Default)]
struct Noop {
    fence: AtomicI64,
}

/// Serves until the process ends. It must not be taken for a server: it grants everything.
pub async fn serve_noop(listener: TcpListener) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .tcp_nodelay(true)
        .add_service(IdempotencyServiceServer::new(Noop::default()))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
}

/// A no-op server in a process of its own, ended when this is dropped.
#[derive(Debug)]
pub struct NoopProcess {
    /// Where it listens.
    pub endpoint: Endpoint,
    _child: Child,
}

impl NoopProcess {
    /// Runs `program bench noop-server`, which prints where it listens as its first line.
    pub async fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["bench", "noop-server"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("its output is not to be had"))?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let line = line.ok_or_else(|| io::Error::other("the no-op server ended before it listened"))?;
        let endpoint = Endpoint::from_shared(format!("http://{line}")).map_err(io::Error::other)?;
        Ok(Self { endpoint, _child: child })
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl IdempotencyService for Noop {
    async fn begin(&self, _: Request<BeginRequest>) -> Answer<BeginResponse> {
        let started = Started {
            fence: self.fence.fetch_add(1, Ordering::Relaxed) + 1,
            attempt: 1,
            lease: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
            lease_expires_at: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 1 }),
            checkpoints: Vec::new(),
            waited: Some(prost_types::Duration::default()),
        };
        Ok(Response::new(BeginResponse { decision: Some(Decision::Started(started)) }))
    }

    async fn complete(&self, _: Request<CompleteRequest>) -> Answer<CompleteResponse> {
        Ok(Response::new(CompleteResponse {
            completed_at: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 1 }),
            expires_at: Some(prost_types::Timestamp { seconds: 1_800_086_400, nanos: 1 }),
            repeated_call: false,
        }))
    }

    async fn abort(&self, _: Request<AbortRequest>) -> Answer<AbortResponse> {
        Err(unused())
    }

    async fn lookup(&self, _: Request<LookupRequest>) -> Answer<LookupResponse> {
        Err(unused())
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Answer<RenewResponse> {
        Err(unused())
    }

    async fn save_checkpoint(&self, _: Request<SaveCheckpointRequest>) -> Answer<SaveCheckpointResponse> {
        Err(unused())
    }

    async fn batch_begin(&self, _: Request<BatchBeginRequest>) -> Answer<BatchBeginResponse> {
        Err(unused())
    }

    async fn batch_complete(&self, _: Request<BatchCompleteRequest>) -> Answer<BatchCompleteResponse> {
        Err(unused())
    }
}

fn unused() -> Status {
    Status::unimplemented("this is the no-op server of semel bench; it answers Begin and Complete alone")
}
