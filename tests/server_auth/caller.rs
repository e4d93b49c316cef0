//! Who calls a method on a connection with a credential, and what it is told.

use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::proto::resolve_record_request::Resolution;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::server::*;

pub(crate) const METHODS: [&str; 12] = [
    "Begin",
    "Complete",
    "Abort",
    "Lookup",
    "Renew",
    "SaveCheckpoint",
    "BatchBegin",
    "BatchComplete",
    "ListRecords",
    "ResolveRecord",
    "ForgetRecord",
    "GetPolicy",
];

/// A connection, and what is sent with each call.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) channel: Channel,
    pub(crate) authorization: Vec<String>,
}

/// How a call ended: `OK`, or the reason.
fn said(result: Result<(), Status>) -> String {
    match result {
        Ok(()) => "OK".to_owned(),
        Err(status) => {
            let reason = reason(&status);
            let code = match reason.as_str() {
                "CREDENTIAL_REQUIRED" | "CREDENTIAL_INVALID" => Code::Unauthenticated,
                "TENANT_NOT_ALLOWED" | "ROLE_REQUIRED" => Code::PermissionDenied,
                _ => status.code(),
            };
            assert_eq!(status.code(), code);
            reason
        }
    }
}

fn slot(error: Option<proto::ItemError>) -> String {
    error.map_or_else(|| "OK".to_owned(), |error| error.reason)
}

impl Caller {
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        for value in &self.authorization {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        request
    }

    /// Calls `method` on the key `k` of `tenant`.
    pub(crate) async fn call(&self, method: &str, tenant: &str) -> String {
        let mut service = IdempotencyServiceClient::new(self.channel.clone());
        let mut operator = OperatorServiceClient::new(self.channel.clone());
        let key = Some(proto::Key { tenant: tenant.into(), ..key("k") });
        let begin = proto::BeginRequest { key: key.clone(), ..begin("k", 1) };
        let complete = proto::CompleteRequest { key: key.clone(), ..complete("k", 1, 1, "done") };
        let abort = proto::AbortRequest {
            key: key.clone(),
            ..abort("k", 1, 1, proto::abort_request::Disposition::Release)
        };
        let (fence, attempt_id) = (1, attempt_id(1));
        match method {
            "Begin" => said(service.begin(self.request(begin)).await.map(drop)),
            "Complete" => said(service.complete(self.request(complete)).await.map(drop)),
            "Abort" => said(service.abort(self.request(abort)).await.map(drop)),
            "Lookup" => said(service.lookup(self.request(proto::LookupRequest { key })).await.map(drop)),
            "Renew" => {
                let request = proto::RenewRequest { key, fence, attempt_id, lease: None };
                said(service.renew(self.request(request)).await.map(drop))
            }
            "SaveCheckpoint" => {
                let request = proto::SaveCheckpointRequest {
                    key,
                    fence,
                    attempt_id,
                    name: "n".into(),
                    value: "v".into(),
                };
                said(service.save_checkpoint(self.request(request)).await.map(drop))
            }
            "BatchBegin" => {
                let request = proto::BatchBeginRequest { requests: vec![begin] };
                match service.batch_begin(self.request(request)).await {
                    Ok(answer) => begun(answer.into_inner().items.remove(0)),
                    Err(status) => said(Err(status)),
                }
            }
            "BatchComplete" => {
                let request = proto::BatchCompleteRequest { requests: vec![complete] };
                match service.batch_complete(self.request(request)).await {
                    Ok(answer) => completed(answer.into_inner().items.remove(0)),
                    Err(status) => said(Err(status)),
                }
            }
            "ListRecords" => {
                let request = proto::ListRecordsRequest { tenant: tenant.into(), ..Default::default() };
                said(operator.list_records(self.request(request)).await.map(drop))
            }
            "ResolveRecord" => {
                let resolution = Some(Resolution::Release(true));
                let request = proto::ResolveRecordRequest { key, fence, resolution, ..Default::default() };
                said(operator.resolve_record(self.request(request)).await.map(drop))
            }
            "ForgetRecord" => {
                let request = proto::ForgetRecordRequest { key, fence, force: false };
                said(operator.forget_record(self.request(request)).await.map(drop))
            }
            "GetPolicy" => {
                let request = proto::GetPolicyRequest { tenant: tenant.into(), endpoint: "e".into() };
                said(operator.get_policy(self.request(request)).await.map(drop))
            }
            other => panic!("{other} is no method"),
        }
    }
}

pub(crate) fn begun(item: proto::batch_begin_response::Item) -> String {
    use proto::batch_begin_response::item::Outcome;
    slot(match item.outcome {
        Some(Outcome::Error(error)) => Some(error),
        _ => None,
    })
}

fn completed(item: proto::batch_complete_response::Item) -> String {
    use proto::batch_complete_response::item::Outcome;
    slot(match item.outcome {
        Some(Outcome::Error(error)) => Some(error),
        _ => None,
    })
}
