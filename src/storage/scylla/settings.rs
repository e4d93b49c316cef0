//! What the store has to be told: which database, and how to use it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use scylla::statement::{Consistency, SerialConsistency};

use crate::storage::StoreName;
use crate::storage::record_codec::Codec;

/// The database and how to use it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to meet the cluster: `host` or `host:port`, some of its nodes. The others are learned from these.
    pub nodes: Vec<String>,
    /// The datacenter whose nodes are spoken to, and which LOCAL consistencies mean. May be left out where the cluster
    /// has one alone.
    pub datacenter: Option<String>,
    /// The keyspace that holds the tables.
    pub keyspace: String,
    /// Who connects, where the cluster asks.
    pub credentials: Option<Credentials>,
    /// TLS to the nodes; absent: none.
    pub tls: Option<Tls>,
    /// Connections to each shard of a ScyllaDB node, or to each Cassandra node.
    pub connections: NonZeroUsize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the store waits for the answer to a request. It must exceed the database's own timeouts
    /// (`cas_contention_timeout`, 1.8 s, and `read_request_timeout`, 5 s, by default), so that the database's word is
    /// heard where it has one.
    pub request_timeout: Duration,
    /// Where writes of one key are put in order.
    pub ordering: Ordering,
    /// Which records can be listed.
    pub listing: Listing,
    /// The record formats that are known; a test makes servers of a later release by it.
    pub codec: Codec,
    /// How often a running server looks whether the schema changed.
    pub schema_look_every: Duration,
    /// Where each node is really reached, for tests that stand between the store and the nodes.
    #[cfg(feature = "test-support")]
    pub translated: std::collections::HashMap<std::net::SocketAddr, std::net::SocketAddr>,
}

impl Settings {
    /// How this store is named in traces. The conventions know no name for ScyllaDB, which speaks Cassandra's protocol.
    pub fn name(&self) -> StoreName {
        let namespace = Some(self.keyspace.clone());
        StoreName { system: "cassandra", namespace, collection: "record" }
    }

    /// The defaults, with these nodes and this keyspace.
    pub fn new(nodes: Vec<String>, keyspace: impl Into<String>) -> Self {
        Self {
            nodes,
            datacenter: None,
            keyspace: keyspace.into(),
            credentials: None,
            tls: None,
            connections: NonZeroUsize::MIN,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            ordering: Ordering::LocalSerial,
            listing: Listing::Unresolved,
            codec: Codec::LATEST,
            schema_look_every: Duration::from_secs(30),
            #[cfg(feature = "test-support")]
            translated: std::collections::HashMap::new(),
        }
    }

    /// Whether every database takes this as a keyspace's name.
    pub fn is_keyspace_name(name: &str) -> bool {
        name.len() <= 48
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }
}

/// A name and a password. The password is in no log and no error.
#[derive(Clone)]
pub struct Credentials {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Files in PEM form. A node's certificate must name its IP address.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authorities that may have signed the nodes' certificates.
    pub ca: PathBuf,
    /// semel's own certificate, where the nodes ask for one.
    pub client: Option<ClientCertificate>,
}

impl Tls {
    /// What is wrong with each file, so that it can be said before anything connects.
    pub fn problems(&self) -> Vec<(PathBuf, String)> {
        super::tls::problems(self)
    }
}

/// Files in PEM form.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Where writes of one key are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ordering {
    /// Within the datacenter (`LOCAL_SERIAL`, `LOCAL_QUORUM`): a key must be used in one datacenter alone.
    #[default]
    LocalSerial,
    /// Across all datacenters (`SERIAL`, `QUORUM`): each write waits for the others' answers.
    Serial,
}

impl Ordering {
    /// The consistency at which a condition is decided.
    pub(super) const fn condition(self) -> SerialConsistency {
        match self {
            Self::LocalSerial => SerialConsistency::LocalSerial,
            Self::Serial => SerialConsistency::Serial,
        }
    }

    /// The consistency of plain reads and writes, and of the last step of a conditional one: any two of them meet.
    pub(super) const fn plain(self) -> Consistency {
        match self {
            Self::LocalSerial => Consistency::LocalQuorum,
            Self::Serial => Consistency::Quorum,
        }
    }

    /// The consistency of a read that settles what is under way.
    pub(super) const fn serial_read(self) -> Consistency {
        match self {
            Self::LocalSerial => Consistency::LocalSerial,
            Self::Serial => Consistency::Serial,
        }
    }
}

/// Which records can be listed. Each costs one plain write per Begin of such a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Listing {
    /// Those that may come to read as unresolved.
    #[default]
    Unresolved,
    /// All that are not completed or forgotten.
    Open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keyspaces() {
        let longest = "k".repeat(48);
        for name in ["semel", "S1_x", longest.as_str()] {
            assert!(Settings::is_keyspace_name(name), "{name}");
        }
        let too_long = "k".repeat(49);
        for name in ["", "1a", "_a", "a-b", "a\"b", "a b", "é", too_long.as_str()] {
            assert!(!Settings::is_keyspace_name(name), "{name}");
        }
    }
}
