//! A caller who takes a server down every path, and puts something unique into every field.

use std::collections::HashMap;
use std::fmt::Write as _;

use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::proto::resolve_record_request::Resolution;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::planted::Planted;
use crate::raw::RawClient;
use crate::server::{attempt_id, seconds};

/// A caller who puts something unique into every field.
pub(crate) struct Caller {
    planted: Planted,
    pub(crate) client: IdempotencyServiceClient<Channel>,
    operator: OperatorServiceClient<Channel>,
    /// Everything that errors said.
    pub(crate) errors: String,
    pub(crate) paths: u64,
}

impl Caller {
    pub(crate) async fn connect(url: &str, planted: Planted) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        Self {
            planted,
            client: IdempotencyServiceClient::new(channel.clone()),
            operator: OperatorServiceClient::new(channel),
            errors: String::new(),
            paths: 0,
        }
    }

    pub(crate) fn key(&self, endpoint: &str) -> proto::Key {
        let idempotency_key = self.planted.plant("an idempotency key");
        proto::Key { tenant: "shop".into(), endpoint: endpoint.into(), idempotency_key }
    }

    pub(crate) fn begin_of(&self, key: &proto::Key, attempt: u32) -> proto::BeginRequest {
        proto::BeginRequest {
            key: Some(key.clone()),
            attempt_id: attempt_id(attempt),
            fingerprint: b"the same fingerprint for all".to_vec().into(),
            labels: HashMap::from([(self.planted.plant("a label's name"), self.planted.plant("a label"))]),
            ..proto::BeginRequest::default()
        }
    }

    pub(crate) fn result(&self) -> proto::Result {
        let header = proto::Header {
            name: self.planted.plant("a header's name"),
            value: self.planted.plant("a header").into(),
        };
        proto::Result {
            outcome: proto::result::Outcome::Success.into(),
            code: 200,
            content_type: self.planted.plant("a content type"),
            headers: vec![header],
            payload: self.planted.plant("a payload").into(),
            payload_omitted: false,
        }
    }

    pub(crate) fn complete_of(&self, key: &proto::Key, attempt: u32, fence: i64) -> proto::CompleteRequest {
        proto::CompleteRequest {
            key: Some(key.clone()),
            fence,
            attempt_id: attempt_id(attempt),
            result: Some(self.result()),
            retention: None,
        }
    }

    pub(crate) fn abort_of(
        &self,
        key: &proto::Key,
        attempt: u32,
        fence: i64,
        how: Disposition,
    ) -> proto::AbortRequest {
        proto::AbortRequest {
            key: Some(key.clone()),
            fence,
            attempt_id: attempt_id(attempt),
            disposition: how.into(),
            detail: self.planted.plant("a detail"),
            retry_after: None,
        }
    }

    fn point_of(
        &self,
        key: &proto::Key,
        attempt: u32,
        fence: i64,
        name: &str,
    ) -> proto::SaveCheckpointRequest {
        proto::SaveCheckpointRequest {
            key: Some(key.clone()),
            fence,
            attempt_id: attempt_id(attempt),
            name: name.into(),
            value: self.planted.plant("a checkpoint").into(),
        }
    }

    fn renew_of(key: &proto::Key, attempt: u32, fence: i64) -> proto::RenewRequest {
        let (key, attempt_id) = (Some(key.clone()), attempt_id(attempt));
        proto::RenewRequest { key, fence, attempt_id, lease: None }
    }

    fn resolve_of(
        &self,
        key: &proto::Key,
        fence: i64,
        resolution: Option<Resolution>,
    ) -> proto::ResolveRecordRequest {
        let note = self.planted.plant("a note");
        proto::ResolveRecordRequest { key: Some(key.clone()), fence, resolution, note, force: true }
    }

    /// A request with a header that holds a secret, such as a credential meant for something else.
    fn with_header<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let secret = self.planted.plant("a request header").parse().unwrap();
        request.metadata_mut().insert("x-api-key", secret);
        request
    }

    /// One path that ends well.
    pub(crate) fn goes<T>(&mut self, answer: Result<tonic::Response<T>, Status>) -> T {
        self.paths += 1;
        answer.unwrap_or_else(|status| panic!("{status:?}")).into_inner()
    }

    /// One path that ends in an error for this reason.
    pub(crate) fn fails<T: std::fmt::Debug>(
        &mut self,
        reason: &str,
        answer: Result<tonic::Response<T>, Status>,
    ) {
        self.paths += 1;
        let status = answer.expect_err(reason);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some(reason), "{status:?}");
        self.keep(&status);
    }

    /// One path, however it ends.
    pub(crate) fn ends<T>(&mut self, answer: Result<tonic::Response<T>, Status>) {
        self.paths += 1;
        if let Err(status) = answer {
            self.keep(&status);
        }
    }

    fn keep(&mut self, status: &Status) {
        let (details, raw) = (status.get_error_details(), String::from_utf8_lossy(status.details()));
        let _ = writeln!(self.errors, "{status:?} {details:?} {raw} {:?}", status.metadata());
    }

    pub(crate) async fn started(&mut self, request: proto::BeginRequest) -> i64 {
        let request = self.with_header(request);
        let answer = self.client.begin(request).await;
        match self.goes(answer).decision {
            Some(proto::begin_response::Decision::Started(started)) => started.fence,
            other => panic!("not started: {}", kind(other.as_ref())),
        }
    }

    async fn begins(&mut self, request: proto::BeginRequest, decision: &str) {
        let answer = self.client.begin(request).await;
        assert_eq!(kind(self.goes(answer).decision.as_ref()), decision);
    }

    /// A text that is too long for wherever it goes, and has something unique in it.
    fn too_long(&self, place: &str) -> String {
        self.planted.plant(place).repeat(100)
    }

    /// The paths of those who begin, and of whoever meets them.
    pub(crate) async fn begin_paths(&mut self) {
        let key = self.key("rerun/any");
        let fence = self.started(self.begin_of(&key, 1)).await;
        self.begins(self.begin_of(&key, 1), "started").await;
        self.begins(self.begin_of(&key, 2), "in_progress").await;
        self.begins(proto::BeginRequest { retry: true, ..self.begin_of(&key, 2) }, "in_progress").await;
        let other = proto::BeginRequest {
            fingerprint: self.planted.plant("a fingerprint").into(),
            ..self.begin_of(&key, 2)
        };
        let answer = self.client.begin(other).await;
        self.fails("FINGERPRINT_MISMATCH", answer);
        let answer = self.client.complete(self.complete_of(&key, 1, fence)).await;
        self.goes(answer);
        self.begins(self.begin_of(&key, 2), "replayed").await;

        let key = self.key("rerun/any");
        let first = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.save_checkpoint(self.point_of(&key, 1, first, "p")).await;
        self.goes(answer);
        let abort = self.abort_of(&key, 1, first, Disposition::OutcomeUnknown);
        let answer = self.client.abort(proto::AbortRequest { retry_after: seconds(60), ..abort }).await;
        self.goes(answer);
        self.begins(self.begin_of(&key, 2), "in_progress").await;
        let answer = self.client.begin(self.begin_of(&key, 1)).await;
        self.fails("ATTEMPT_ENDED", answer);

        let key = self.key("rerun/any");
        let first = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.abort(self.abort_of(&key, 1, first, Disposition::OutcomeUnknown)).await;
        self.goes(answer);
        let second = self.started(self.begin_of(&key, 2)).await;
        let answer = self.client.complete(self.complete_of(&key, 1, first)).await;
        self.fails("FENCE_LOST", answer);
        let waiting = proto::BeginRequest {
            wait: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
            ..self.begin_of(&key, 3)
        };
        self.begins(waiting, "in_progress").await;
        let answer = self.client.complete(self.complete_of(&key, 2, second)).await;
        self.goes(answer);

        let key = self.key("unknown/any");
        let fence = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.abort(self.abort_of(&key, 1, fence, Disposition::OutcomeUnknown)).await;
        self.goes(answer);
        self.begins(self.begin_of(&key, 2), "unresolved").await;

        let long_ago = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let answer = self
            .client
            .begin(proto::BeginRequest { first_sent: long_ago, ..self.begin_of(&self.key("rerun/any"), 1) })
            .await;
        self.fails("KEY_EXPIRED", answer);
        let none =
            proto::BeginRequest { fingerprint: Vec::new().into(), ..self.begin_of(&self.key("strict"), 1) };
        let answer = self.client.begin(none).await;
        self.fails("FINGERPRINT_REQUIRED", answer);
        self.started(self.begin_of(&self.key("narrow"), 1)).await;
        for endpoint in ["narrow", "slow"] {
            if endpoint == "slow" {
                self.started(self.begin_of(&self.key(endpoint), 1)).await;
            }
            let answer = self.client.begin(self.begin_of(&self.key(endpoint), 1)).await;
            self.fails("QUOTA_EXCEEDED", answer);
        }
    }

    /// Arguments that are wrong, each with something unique in it.
    pub(crate) async fn argument_paths(&mut self) {
        let key = self.key("rerun/any");
        let long = proto::Key { idempotency_key: self.too_long("a key that is too long"), ..key.clone() };
        let nameless =
            proto::Header { name: String::new(), value: self.planted.plant("a nameless header").into() };
        let wrong = [
            ("INVALID_KEY", proto::BeginRequest { key: Some(long), ..self.begin_of(&key, 1) }),
            (
                "INVALID_ATTEMPT_ID",
                proto::BeginRequest {
                    attempt_id: self.planted.plant("an attempt id"),
                    ..self.begin_of(&key, 1)
                },
            ),
            (
                "INVALID_FINGERPRINT",
                proto::BeginRequest {
                    fingerprint: self.too_long("a long fingerprint").into(),
                    ..self.begin_of(&key, 1)
                },
            ),
            ("INVALID_DURATION", proto::BeginRequest { lease: seconds(-1), ..self.begin_of(&key, 1) }),
            (
                "INVALID_LABELS",
                proto::BeginRequest {
                    labels: HashMap::from([(
                        self.planted.plant("a long label's name"),
                        self.too_long("a long label"),
                    )]),
                    ..self.begin_of(&key, 1)
                },
            ),
        ];
        for (reason, request) in wrong {
            let answer = self.client.begin(request).await;
            self.fails(reason, answer);
        }
        let result = Some(proto::Result { headers: vec![nameless], ..self.result() });
        let answer =
            self.client.complete(proto::CompleteRequest { result, ..self.complete_of(&key, 1, 1) }).await;
        self.fails("INVALID_RESULT", answer);
        let small = proto::Key { endpoint: "strict".into(), ..key.clone() };
        let answer = self.client.complete(self.complete_of(&small, 1, 1)).await;
        self.fails("RESULT_TOO_LARGE", answer);
        let answer = self.client.complete(self.complete_of(&key, 1, 0)).await;
        self.fails("INVALID_FENCE", answer);
        let answer = self.client.abort(self.abort_of(&key, 1, 1, Disposition::Unspecified)).await;
        self.fails("INVALID_DISPOSITION", answer);
        let detail = self.too_long("a long detail");
        let abort = proto::AbortRequest { detail, ..self.abort_of(&key, 1, 1, Disposition::Release) };
        let answer = self.client.abort(abort).await;
        self.fails("INVALID_DETAIL", answer);
        let name = self.too_long("a long checkpoint's name");
        let answer = self.client.save_checkpoint(self.point_of(&key, 1, 1, &name)).await;
        self.fails("INVALID_CHECKPOINT", answer);
        let note = self.too_long("a long note");
        let resolve = self.resolve_of(&key, 1, Some(Resolution::Release(true)));
        let answer = self.operator.resolve_record(proto::ResolveRecordRequest { note, ..resolve }).await;
        self.fails("INVALID_RESOLUTION", answer);
        let page_token = self.planted.plant("a page token");
        let page = proto::ListRecordsRequest {
            tenant: "shop".into(),
            page_token,
            ..proto::ListRecordsRequest::default()
        };
        let answer = self.operator.list_records(page).await;
        self.fails("INVALID_PAGE", answer);
        let requests = vec![self.begin_of(&key, 1); 1001];
        let answer = self.client.batch_begin(proto::BatchBeginRequest { requests }).await;
        self.fails("BATCH_TOO_LARGE", answer);
        let answer = self.operator.get_policy(proto::GetPolicyRequest::default()).await;
        self.fails("INVALID_KEY", answer);
    }

    /// The paths of owners.
    pub(crate) async fn owner_paths(&mut self) {
        let key = self.key("rerun/any");
        let fence = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.renew(Self::renew_of(&key, 1, fence)).await;
        self.goes(answer);
        let answer = self.client.renew(Self::renew_of(&key, 2, fence)).await;
        self.fails("FENCE_LOST", answer);
        let name = self.planted.plant("a checkpoint's name");
        let point = self.point_of(&key, 1, fence, &name);
        for _ in 0..2 {
            let answer = self.client.save_checkpoint(point.clone()).await;
            self.goes(answer);
        }
        let answer = self.client.save_checkpoint(self.point_of(&key, 1, fence, &name)).await;
        self.fails("CHECKPOINT_CONFLICT", answer);
        let large = proto::SaveCheckpointRequest {
            value: self.planted.plant("a large checkpoint").repeat(3000).into(),
            ..self.point_of(&key, 1, fence, "large")
        };
        let answer = self.client.save_checkpoint(large).await;
        self.fails("CHECKPOINT_LIMIT", answer);
        let complete = self.complete_of(&key, 1, fence);
        for _ in 0..2 {
            let request = self.with_header(complete.clone());
            let answer = self.client.complete(request).await;
            self.goes(answer);
        }
        let answer = self.client.complete(self.complete_of(&key, 1, fence)).await;
        self.fails("RESULT_CONFLICT", answer);
        let answer = self.client.renew(Self::renew_of(&key, 1, fence)).await;
        self.fails("ALREADY_COMPLETED", answer);
        let answer = self.client.abort(self.abort_of(&key, 1, fence, Disposition::Release)).await;
        self.fails("ALREADY_COMPLETED", answer);
        let answer = self.client.lookup(proto::LookupRequest { key: Some(key.clone()) }).await;
        self.goes(answer);
        let unknown = self.key("rerun/any");
        let answer = self.client.lookup(proto::LookupRequest { key: Some(unknown.clone()) }).await;
        self.fails("KEY_NOT_FOUND", answer);
        let answer = self.client.complete(self.complete_of(&unknown, 1, 1)).await;
        self.fails("KEY_NOT_FOUND", answer);
        let released = self.key("rerun/any");
        let fence = self.started(self.begin_of(&released, 1)).await;
        let answer = self.client.abort(self.abort_of(&released, 1, fence, Disposition::Release)).await;
        self.goes(answer);
        let answer = self.client.complete(self.complete_of(&released, 1, fence)).await;
        self.fails("FENCE_LOST", answer);

        let (good, bad) = (self.key("rerun/any"), self.key("strict"));
        let nothing = Vec::new().into();
        let requests = vec![
            self.begin_of(&good, 1),
            proto::BeginRequest { fingerprint: nothing, ..self.begin_of(&bad, 1) },
        ];
        let answer = self.client.batch_begin(proto::BatchBeginRequest { requests }).await;
        let items = self.goes(answer).items;
        let _ = writeln!(self.errors, "{:?}", items[1]);
        let requests = vec![self.complete_of(&good, 9, 1), self.complete_of(&self.key("rerun/any"), 1, 1)];
        let answer = self.client.batch_complete(proto::BatchCompleteRequest { requests }).await;
        let items = self.goes(answer).items;
        let _ = writeln!(self.errors, "{items:?}");
    }

    /// The paths of operators.
    pub(crate) async fn operator_paths(&mut self) {
        let (one, two, running) = (self.key("unknown/any"), self.key("unknown/any"), self.key("unknown/any"));
        let mut fences = Vec::new();
        for key in [&one, &two, &running] {
            fences.push(self.started(self.begin_of(key, 1)).await);
        }
        for (key, fence) in [(&one, fences[0]), (&two, fences[1])] {
            let answer = self.client.abort(self.abort_of(key, 1, fence, Disposition::OutcomeUnknown)).await;
            self.goes(answer);
        }
        let all = proto::ListRecordsRequest {
            tenant: "shop".into(),
            page_size: 3,
            ..proto::ListRecordsRequest::default()
        };
        let answer = self.operator.list_records(self.with_header(all)).await;
        self.goes(answer);
        let happened = Some(Resolution::Result(self.result()));
        let answer =
            self.operator.resolve_record(self.resolve_of(&one, fences[0] + 1, happened.clone())).await;
        self.fails("FENCE_LOST", answer);
        let answer = self.operator.resolve_record(self.resolve_of(&one, fences[0], happened.clone())).await;
        self.goes(answer);
        let answer = self.operator.resolve_record(self.resolve_of(&one, fences[0], happened)).await;
        self.fails("STATE_CONFLICT", answer);
        let release = Some(Resolution::Release(true));
        let answer = self.operator.resolve_record(self.resolve_of(&two, fences[1], release.clone())).await;
        self.goes(answer);
        let answer =
            self.operator.resolve_record(self.resolve_of(&self.key("unknown/any"), 1, release)).await;
        self.fails("KEY_NOT_FOUND", answer);
        let forget = |key: &proto::Key, fence, force| proto::ForgetRecordRequest {
            key: Some(key.clone()),
            fence,
            force,
        };
        let answer = self.operator.forget_record(forget(&running, fences[2], false)).await;
        self.fails("STATE_CONFLICT", answer);
        let answer = self.operator.forget_record(forget(&one, fences[0], false)).await;
        self.goes(answer);
        let policy = proto::GetPolicyRequest { tenant: "shop".into(), endpoint: "strict".into() };
        let answer = self.operator.get_policy(policy).await;
        self.goes(answer);
    }

    /// What is no request, with something unique in it.
    pub(crate) async fn transport_paths(&mut self, address: &str) {
        const BEGIN: &str = "/semel.v1.IdempotencyService/Begin";
        let mut raw = RawClient::connect(address).await;
        let garbage = self.planted.plant("what is no message");
        let header = self.planted.plant("a header of what is no message");
        let answers = [
            raw.call(BEGIN, &[("x-secret", &header)], garbage.as_bytes()).await,
            raw.send(BEGIN, &[], garbage.clone().into_bytes().into()).await,
            raw.call("/semel.v1.IdempotencyService/Nothing", &[], garbage.as_bytes()).await,
            raw.call(BEGIN, &[("grpc-timeout", &self.planted.plant("a timeout"))], garbage.as_bytes()).await,
            raw.call(BEGIN, &[("traceparent", &self.planted.plant("a traceparent"))], garbage.as_bytes())
                .await,
            raw.call(BEGIN, &[], garbage.repeat(300_000).as_bytes()).await,
        ];
        for answer in answers {
            self.paths += 1;
            let _ = writeln!(self.errors, "{:?}", answer.expect_err("it is no request"));
        }
    }
}

fn kind(decision: Option<&proto::begin_response::Decision>) -> &'static str {
    use proto::begin_response::Decision;
    match decision {
        Some(Decision::Started(_)) => "started",
        Some(Decision::Replayed(_)) => "replayed",
        Some(Decision::InProgress(_)) => "in_progress",
        Some(Decision::Unresolved(_)) => "unresolved",
        None => "none",
    }
}
