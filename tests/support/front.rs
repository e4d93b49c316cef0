//! A gateway before a server: passes calls on, but for those that a test wants answered otherwise.
#![allow(dead_code, reason = "each integration test compiles this module, and uses what it needs of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::idempotency_service_server::{IdempotencyService, IdempotencyServiceServer};
use semel::proto::{
    AbortRequest, AbortResponse, BatchBeginRequest, BatchBeginResponse, BatchCompleteRequest,
    BatchCompleteResponse, BeginRequest, BeginResponse, CompleteRequest, CompleteResponse, LookupRequest,
    LookupResponse, RenewRequest, RenewResponse, SaveCheckpointRequest, SaveCheckpointResponse,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// What becomes of a call instead of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Instead {
    /// The server never sees it.
    Refused(Status),
    /// The server answers, and the answer is lost.
    Lost(Status),
}

#[derive(Debug, Default)]
struct Script {
    /// By method, in order.
    instead: VecDeque<(&'static str, Instead)>,
    /// By method, until another method is called.
    until: Vec<(&'static str, Instead, &'static str)>,
    /// The methods of all calls that came.
    calls: Vec<&'static str>,
}

/// A gateway; it ends when this is dropped.
pub(crate) struct Front {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    /// Stands before the server at `behind`.
    pub(crate) fn of(behind: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service =
            Gateway { script: script.clone(), behind: Endpoint::from_shared(behind.to_owned()).unwrap() };
        runtime.spawn(
            Server::builder()
                .add_service(IdempotencyServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Self { url, script, _runtime: runtime }
    }

    /// The next call of `method` that has not been spoken for ends so.
    pub(crate) fn answer(&self, method: &'static str, instead: Instead) {
        self.script.lock().unwrap().instead.push_back((method, instead));
    }

    /// Every call of `method` ends so, until one of `until` comes.
    pub(crate) fn answer_until(&self, until: &'static str, method: &'static str, instead: Instead) {
        self.script.lock().unwrap().until.push((method, instead, until));
    }

    /// How many calls of `method` have come.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.script.lock().unwrap().calls.iter().filter(|call| **call == method).count()
    }
}

struct Gateway {
    script: Arc<Mutex<Script>>,
    behind: Endpoint,
}

impl Gateway {
    fn next(&self, method: &'static str) -> Option<Instead> {
        let mut script = self.script.lock().unwrap();
        script.calls.push(method);
        script.until.retain(|(_, _, until)| *until != method);
        if let Some((_, instead, _)) = script.until.iter().find(|(of, _, _)| *of == method) {
            return Some(instead.clone());
        }
        let at = script.instead.iter().position(|(of, _)| *of == method)?;
        script.instead.remove(at).map(|(_, instead)| instead)
    }

    async fn client(&self) -> Result<IdempotencyServiceClient<Channel>, Status> {
        let channel = self.behind.connect().await.map_err(|_| Status::unavailable("nobody is behind"))?;
        Ok(IdempotencyServiceClient::new(channel))
    }
}

macro_rules! pass_on {
    ($($method:ident($request:ty) -> $response:ty;)+) => {
        #[tonic::async_trait]
        impl IdempotencyService for Gateway {
            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let instead = self.next(stringify!($method));
                if let Some(Instead::Refused(status)) = instead {
                    return Err(status);
                }
                let answer = self.client().await?.$method(request).await;
                match instead {
                    Some(Instead::Lost(status)) => Err(status),
                    _ => answer,
                }
            })+
        }
    };
}

pass_on! {
    begin(BeginRequest) -> BeginResponse;
    complete(CompleteRequest) -> CompleteResponse;
    abort(AbortRequest) -> AbortResponse;
    lookup(LookupRequest) -> LookupResponse;
    renew(RenewRequest) -> RenewResponse;
    save_checkpoint(SaveCheckpointRequest) -> SaveCheckpointResponse;
    batch_begin(BatchBeginRequest) -> BatchBeginResponse;
    batch_complete(BatchCompleteRequest) -> BatchCompleteResponse;
}
