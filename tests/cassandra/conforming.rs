//! The suite that every store passes, on a real node.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use semel::storage::conformance::{Backend, Kind, Reclaims, Samples};
use semel::storage::scylla::{Listing, Settings};
use semel::storage::{Scope, Store};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::database::{Database, SetClock};
use crate::support;

/// Each store in a keyspace of its own.
struct OnANode<'a> {
    cluster: &'a Cluster,
    listing: Listing,
    current: Option<Database>,
}

impl fmt::Debug for OnANode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a store on a node, listing {:?}", self.listing)
    }
}

impl OnANode<'_> {
    async fn open(&self) -> Arc<dyn Store> {
        let database = self.current.as_ref().expect("there is one");
        let settings = Settings { listing: self.listing, ..database.settings.clone() };
        database.store_with(settings, &SetClock::at(Samples::CLOCK.as_micros())).await
    }
}

#[async_trait]
impl Backend for OnANode<'_> {
    fn kind(&self) -> Kind {
        let lists = match self.listing {
            Listing::Unresolved => Scope::Unresolved,
            Listing::Open => Scope::Open,
        };
        Kind { lists, reclaims: Reclaims::ByTtl }
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        self.current = Some(Database::new(self.cluster).await);
        self.open().await
    }

    async fn reopen(&mut self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        drop(store);
        Some(self.open().await)
    }
}

pub(crate) fn a_store_on_a_node_conforms(cluster: &mut Cluster, runtime: &Runtime) {
    let conforms = async |listing| {
        let mut backend = OnANode { cluster, listing, current: None };
        let report = semel::storage::conformance::run(&mut backend).await;
        support::count("cassandra_scenarios", report.scenarios as u64);
    };
    // At once: some scenarios wait for rows to go.
    runtime.block_on(async { tokio::join!(conforms(Listing::Unresolved), conforms(Listing::Open)) });
}
