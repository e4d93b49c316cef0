//! A server whose policies and faults provoke every reason, and what its errors say.

use std::sync::Arc;
use std::time::Duration;

use semel::coordinator::Settings;
use semel::domain::{Pattern, Policy, PolicyRules, Rule};
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::server::{Auth, Credentials, Identity, Role, Security, Token, TokenHash};
use semel::storage::fault_injecting::FaultInjecting;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::scripted_store::ScriptedStore;
use crate::support::server::*;

/// In every key, payload, label, checkpoint, detail, note and store error of this file: no error may repeat it.
pub(crate) const CANARY: &str = "canary";

/// What was said in an error.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) fields: Vec<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) text: String,
}

impl From<Status> for Said {
    fn from(status: Status) -> Self {
        let details = details(&status);
        assert_eq!(details.domain, "semel.v1", "{status:?}");
        // The details once more as they came, whatever they hold.
        let raw = String::from_utf8_lossy(status.details()).into_owned();
        Self {
            code: status.code(),
            reason: details.reason,
            fields: details.fields,
            retry_after: details.retry_after,
            text: details.text + &raw,
        }
    }
}

impl From<proto::ItemError> for Said {
    fn from(error: proto::ItemError) -> Self {
        let text = format!("{error:?}");
        Self {
            code: Code::from(error.code),
            reason: error.reason,
            fields: Vec::new(),
            retry_after: None,
            text,
        }
    }
}

/// A server with a policy for each purpose, by endpoint.
pub(crate) struct World {
    pub(crate) server: RunningServer,
    pub(crate) store: Arc<ScriptedStore>,
    /// In front of `store`.
    pub(crate) faults: Arc<FaultInjecting>,
    pub(crate) client: IdempotencyServiceClient<Channel>,
    pub(crate) operator: OperatorServiceClient<Channel>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let store = ScriptedStore::new();
        store.blame(CANARY);
        let strict = Policy { fingerprint_required: true, max_result_bytes: 10, ..Policy::default() };
        let large = Policy { max_result_bytes: Policy::RESULT_BYTES_LIMIT, ..Policy::default() };
        let narrow = Policy { max_open_keys: 1, ..Policy::default() };
        let rule = |endpoint: &str, policy| Rule {
            tenant: Pattern::parse("*"),
            endpoint: Pattern::parse(endpoint),
            policy,
        };
        let rules = PolicyRules::new(
            Policy::default(),
            vec![rule("strict", strict), rule("large", large), rule("narrow", narrow)],
        );
        let settings =
            Settings { max_waiters: 0, settle_within: Duration::from_millis(20), ..Settings::default() };
        let faults = Arc::new(FaultInjecting::new(store.clone()));
        let server = Start { rules, settings, ..Start::on(faults.clone()) }.serve().await;
        let (client, operator) = (server.client().await, server.operator().await);
        Self { server, store, faults, client, operator }
    }

    pub(crate) async fn started(&mut self) -> proto::Started {
        started(self.client.begin(begin(CANARY, 1)).await.unwrap())
    }

    /// Started and completed with the canary.
    pub(crate) async fn completed(&mut self) -> proto::Started {
        let owner = self.started().await;
        self.client.complete(complete(CANARY, 1, owner.fence, CANARY)).await.unwrap();
        owner
    }

    pub(crate) async fn begin(&mut self, request: proto::BeginRequest) -> Said {
        self.client.begin(request).await.expect_err("refused").into()
    }

    pub(crate) async fn complete(&mut self, request: proto::CompleteRequest) -> Said {
        self.client.complete(request).await.expect_err("refused").into()
    }

    pub(crate) async fn abort(&mut self, request: proto::AbortRequest) -> Said {
        self.client.abort(request).await.expect_err("refused").into()
    }

    pub(crate) async fn save(&mut self, fence: i64, name: &str, value: &str) -> Said {
        let request = checkpoint(fence, name, value);
        self.client.save_checkpoint(request).await.expect_err("refused").into()
    }

    pub(crate) async fn list(&mut self, request: proto::ListRecordsRequest) -> Said {
        self.operator.list_records(request).await.expect_err("refused").into()
    }

    /// What a Begin is answered by a server that knows two tokens, both of one tenant.
    pub(crate) async fn begin_with(&mut self, token: Option<&str>, tenant: &str) -> Said {
        let known = ["client", "reader"].map(|role| {
            let hash = TokenHash::of(&format!("semel_{role}_canary"));
            let tenants = vec![Pattern::parse(CANARY)];
            let role = Role::named(role).unwrap();
            let identity = Arc::new(Identity::new(CANARY.to_owned(), tenants, vec![role]));
            (hash, Token { identity, expires: None, revoked: None })
        });
        let clock = TestClock::new();
        let auth = Auth::new(clock.clone()).with_credentials(Credentials::new(known.into(), Vec::new()));
        let security = Security { auth: Some(Arc::new(auth)), ..Security::default() };
        let server = Start { security, clock, ..Start::on(self.store.clone()) }.serve().await;
        let key = proto::Key { tenant: tenant.to_owned(), ..key(CANARY) };
        let mut request = tonic::Request::new(proto::BeginRequest { key: Some(key), ..begin(CANARY, 1) });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        server.client().await.begin(request).await.expect_err("refused").into()
    }

    pub(crate) async fn resolve(&mut self, request: proto::ResolveRecordRequest) -> Said {
        self.operator.resolve_record(request).await.expect_err("refused").into()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(crate) fn at(endpoint: &str) -> Option<proto::Key> {
    Some(proto::Key { endpoint: endpoint.into(), ..key(CANARY) })
}

pub(crate) fn checkpoint(fence: i64, name: &str, value: &str) -> proto::SaveCheckpointRequest {
    proto::SaveCheckpointRequest {
        key: Some(key(CANARY)),
        fence,
        attempt_id: attempt_id(1),
        name: name.into(),
        value: value.to_owned().into(),
    }
}
