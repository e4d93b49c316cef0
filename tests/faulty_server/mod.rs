//! A server in memory that keeps the contract, but for the one promise that it is told to break.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use semel::proto::abort_request::Disposition;
use semel::proto::begin_response::Decision;
use semel::proto::idempotency_service_server::{IdempotencyService, IdempotencyServiceServer};
use semel::proto::{
    AbortRequest, AbortResponse, BatchBeginRequest, BatchBeginResponse, BatchCompleteRequest,
    BatchCompleteResponse, BeginRequest, BeginResponse, CompleteRequest, CompleteResponse, InProgress,
    LookupRequest, LookupResponse, RenewRequest, RenewResponse, Replayed, SaveCheckpointRequest,
    SaveCheckpointResponse, Started, Unresolved,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None.
    None,
    /// None, but each Begin takes 20 ms.
    Slow,
    /// A key in progress is granted to whoever comes.
    TwoOwners,
    /// A released key is granted with the fence it had.
    RepeatedFence,
    /// A released key is granted with a lower fence than it had.
    FallingFence,
    /// The last byte of a replayed payload is another.
    AlteredPayload,
    /// A replay tells a fence that is not the one that completed the key.
    AnotherFenceReplayed,
    /// A fresh key is replayed.
    ReplayedOutOfNothing,
    /// A completed key is granted again.
    CompletedStartsAgain,
    /// A completed key is said to be in progress.
    CompletionForgotten,
    /// Leases are short, and an owner that was taken over from may still complete.
    StaleOwnerBelieved,
    /// Complete is refused with `FENCE_LOST` though the fence is right.
    OwnerRefused,
    /// A key in progress is said to be unresolved.
    Unresolved,
    /// Some Begins fail.
    Failing,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    fault: Fault,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    last_fence: i64,
    begins: u64,
    records: HashMap<String, Record>,
}

#[derive(Clone, Debug)]
struct Record {
    fence: i64,
    attempt: u32,
    attempt_id: String,
    lease_end: Instant,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    InProgress,
    Released,
    Completed(semel::proto::Result),
}

impl Faulty {
    /// Serves on a port of its own for as long as the test's runtime lives.
    pub(crate) async fn serve(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = IdempotencyServiceServer::new(Self { fault, keys: Mutex::default() });
        let serving =
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        address
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn lease(&self) -> Duration {
        if self.has(Fault::StaleOwnerBelieved) { Duration::from_millis(5) } else { Duration::from_secs(30) }
    }

    fn decide(&self, keys: &mut Keys, key: &str, attempt_id: &str) -> Decision {
        let Some(record) = keys.records.get(key).cloned() else {
            if self.has(Fault::ReplayedOutOfNothing) && keys.begins.is_multiple_of(10) {
                return Decision::Replayed(Replayed { fence: 1, attempt: 1, ..Replayed::default() });
            }
            return self.grant(keys, key, attempt_id, 1, None);
        };
        let next = record.attempt + 1;
        match record.phase {
            Phase::Completed(_) if self.has(Fault::CompletedStartsAgain) => {
                self.grant(keys, key, attempt_id, next, None)
            }
            Phase::Completed(_) if self.has(Fault::CompletionForgotten) => {
                Decision::InProgress(InProgress { attempt: record.attempt, ..InProgress::default() })
            }
            Phase::Completed(mut result) => {
                if self.has(Fault::AlteredPayload) {
                    let mut payload = result.payload.to_vec();
                    *payload.last_mut().expect("bench sends payloads") ^= 1;
                    result.payload = payload.into();
                }
                let fence = record.fence + i64::from(self.has(Fault::AnotherFenceReplayed));
                Decision::Replayed(Replayed {
                    result: Some(result),
                    fence,
                    attempt: record.attempt,
                    ..Replayed::default()
                })
            }
            Phase::Released => {
                let fence = match self.fault {
                    Fault::RepeatedFence => Some(record.fence),
                    Fault::FallingFence => Some(record.fence - 1),
                    _ => None,
                };
                self.grant(keys, key, attempt_id, next, fence)
            }
            Phase::InProgress if self.has(Fault::TwoOwners) || Instant::now() > record.lease_end => {
                self.grant(keys, key, attempt_id, next, None)
            }
            Phase::InProgress if self.has(Fault::Unresolved) => {
                Decision::Unresolved(Unresolved { attempt: record.attempt, ..Unresolved::default() })
            }
            Phase::InProgress => {
                Decision::InProgress(InProgress { attempt: record.attempt, ..InProgress::default() })
            }
        }
    }

    fn grant(
        &self,
        keys: &mut Keys,
        key: &str,
        attempt_id: &str,
        attempt: u32,
        fence: Option<i64>,
    ) -> Decision {
        keys.last_fence += 10;
        let fence = fence.unwrap_or(keys.last_fence);
        let record = Record {
            fence,
            attempt,
            attempt_id: attempt_id.to_owned(),
            lease_end: Instant::now() + self.lease(),
            phase: Phase::InProgress,
        };
        keys.records.insert(key.to_owned(), record);
        let lease = prost_types::Duration::try_from(self.lease()).unwrap();
        Decision::Started(Started { fence, attempt, lease: Some(lease), ..Started::default() })
    }

    /// Moves the owner's record on; false when the caller is not its owner.
    fn settle(&self, key: &str, fence: i64, attempt_id: &str, phase: Phase) -> bool {
        let mut keys = self.keys.lock().unwrap();
        let record = keys.records.get_mut(key).expect("bench completes what it began");
        let owns = record.fence == fence && record.attempt_id == attempt_id;
        if owns {
            record.phase = phase;
        }
        (owns || self.has(Fault::StaleOwnerBelieved)) && !self.has(Fault::OwnerRefused)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl IdempotencyService for Faulty {
    async fn begin(&self, request: Request<BeginRequest>) -> Answer<BeginResponse> {
        if self.has(Fault::Slow) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let request = request.into_inner();
        let mut keys = self.keys.lock().unwrap();
        keys.begins += 1;
        if self.has(Fault::Failing) && keys.begins.is_multiple_of(10) {
            return Err(Status::internal("planted"));
        }
        let key = request.key.expect("bench sends keys").idempotency_key;
        let decision = self.decide(&mut keys, &key, &request.attempt_id);
        Ok(Response::new(BeginResponse { decision: Some(decision) }))
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Answer<CompleteResponse> {
        let request = request.into_inner();
        let result = request.result.expect("bench sends results");
        let key = request.key.expect("bench sends keys").idempotency_key;
        if !self.settle(&key, request.fence, &request.attempt_id, Phase::Completed(result)) {
            return Err(fence_lost());
        }
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Ok(Response::new(CompleteResponse {
            completed_at: at(1_800_000_000),
            expires_at: at(1_800_086_400),
            repeated_call: false,
        }))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Answer<AbortResponse> {
        let request = request.into_inner();
        assert_eq!(request.disposition(), Disposition::Release);
        let key = request.key.expect("bench sends keys").idempotency_key;
        if !self.settle(&key, request.fence, &request.attempt_id, Phase::Released) {
            return Err(fence_lost());
        }
        Ok(Response::new(AbortResponse { repeated_call: false }))
    }

    async fn lookup(&self, _: Request<LookupRequest>) -> Answer<LookupResponse> {
        Err(Status::unimplemented("bench does not call it"))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Answer<RenewResponse> {
        Err(Status::unimplemented("these runs do not call it"))
    }

    async fn save_checkpoint(&self, _: Request<SaveCheckpointRequest>) -> Answer<SaveCheckpointResponse> {
        Err(Status::unimplemented("bench does not call it"))
    }

    async fn batch_begin(&self, _: Request<BatchBeginRequest>) -> Answer<BatchBeginResponse> {
        Err(Status::unimplemented("bench does not call it"))
    }

    async fn batch_complete(&self, _: Request<BatchCompleteRequest>) -> Answer<BatchCompleteResponse> {
        Err(Status::unimplemented("bench does not call it"))
    }
}

fn fence_lost() -> Status {
    let details = ErrorDetails::with_error_info("FENCE_LOST", "semel.v1", HashMap::new());
    Status::with_error_details(tonic::Code::Aborted, "planted", details)
}
