//! A session with the cluster, as this workload needs it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::SelfIdentity;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileBuilder};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;

use super::connect_error::ConnectError;
use super::settings::Settings;
use super::tls;

/// How long a connection may be silent before the node is asked for a sign of life, and how long that may take. A node
/// that stands still then costs seconds; a busy one is not taken for dead.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take for a statement of data definition.
pub(super) const DEFINITION_TIMEOUT: Duration = Duration::from_mins(1);
/// How long all nodes may take to have the same schema. A busy Cassandra node that misses the word of a change asks for
/// it only a minute later (its `migration_delay_ms`), so a minute is too short.
const AGREEMENT_TIMEOUT: Duration = Duration::from_mins(3);

/// A session, and the datacenter that it keeps to.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) datacenter: String,
    /// Every datacenter of the cluster.
    pub(super) datacenters: BTreeSet<String>,
}

/// Connects, and checks that the datacenter is the right one.
pub(super) async fn open(settings: &Settings) -> Result<Connected, ConnectError> {
    if settings.nodes.is_empty() {
        return Err(ConnectError::NoNodes);
    }
    if !Settings::is_keyspace_name(&settings.keyspace) {
        return Err(ConnectError::KeyspaceName(settings.keyspace.clone()));
    }
    let mut profile = profile(settings).build().into_handle();
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.nodes)
        .default_execution_profile_handle(profile.clone())
        .connection_timeout(settings.connect_timeout)
        .pool_size(PoolSize::PerShard(settings.connections))
        .keepalive_interval(KEEPALIVE_INTERVAL)
        .keepalive_timeout(KEEPALIVE_TIMEOUT)
        .keyspaces_to_fetch([settings.keyspace.clone()])
        .schema_agreement_timeout(AGREEMENT_TIMEOUT)
        .custom_identity(
            SelfIdentity::new()
                .with_application_name("semel")
                .with_application_version(env!("CARGO_PKG_VERSION")),
        );
    if let Some(credentials) = &settings.credentials {
        builder = builder.user(&credentials.user, &credentials.password);
    }
    if let Some(files) = &settings.tls {
        builder = builder.tls_context(Some(Arc::new(tls::config(files)?)));
    }
    #[cfg(feature = "test-support")]
    if !settings.translated.is_empty() {
        builder = builder.address_translator(Arc::new(settings.translated.clone()));
    }
    let session = builder.build().await.map_err(|error| {
        let user = settings.credentials.as_ref().map(|credentials| credentials.user.as_str());
        ConnectError::of_session(&error, &settings.nodes, user)
    })?;
    let datacenters: BTreeSet<String> = session
        .get_cluster_state()
        .get_nodes_info()
        .iter()
        .filter_map(|node| node.datacenter.clone())
        .collect();
    let datacenter = datacenter(settings.datacenter.as_deref(), &datacenters)?;
    // LOCAL is where the node that coordinates is: a request that strayed into another datacenter would be decided there.
    let local =
        DefaultPolicy::builder().prefer_datacenter(datacenter.clone()).permit_dc_failover(false).build();
    profile.map_to_another_profile(self::profile(settings).load_balancing_policy(local).build());
    Ok(Connected { session, datacenter, datacenters })
}

/// No driver retries by itself: a write that was sent is resolved by its caller, with the same write id.
fn profile(settings: &Settings) -> ExecutionProfileBuilder {
    ExecutionProfile::builder()
        .consistency(settings.ordering.plain())
        .serial_consistency(Some(settings.ordering.condition()))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .request_timeout(Some(settings.request_timeout))
}

fn datacenter(wanted: Option<&str>, present: &BTreeSet<String>) -> Result<String, ConnectError> {
    match wanted {
        Some(wanted) if present.contains(wanted) => Ok(wanted.to_owned()),
        Some(wanted) => Err(ConnectError::Datacenter { wanted: wanted.to_owned(), present: named(present) }),
        None => match present.first() {
            Some(only) if present.len() == 1 => Ok(only.clone()),
            _ => Err(ConnectError::DatacenterNeeded { present: named(present) }),
        },
    }
}

/// Names, for people.
pub(super) fn named(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datacenter_is_known_before_anything_is_decided_in_it() {
        let present = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(datacenter(None, &present(&["a"])).unwrap(), "a");
        assert_eq!(datacenter(Some("b"), &present(&["a", "b"])).unwrap(), "b");
        let wrong = datacenter(Some("c"), &present(&["a", "b"])).unwrap_err().to_string();
        assert!(wrong.contains("'c'") && wrong.contains("'a', 'b'"), "{wrong}");
        for names in [&["a", "b"][..], &[]] {
            assert!(matches!(datacenter(None, &present(names)), Err(ConnectError::DatacenterNeeded { .. })));
        }
    }
}
