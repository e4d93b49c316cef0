//! Why the store does not open: what is wrong, with what value, and what to do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use scylla::errors::{
    BrokenConnectionError, ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError,
    ExecutionError, MetadataError, NewSessionError, PrepareError, RequestAttemptError, SchemaAgreementError,
};

use super::errors::described;

/// Why the store does not open, or its schema cannot be read or applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No node was named.
    #[error("no node of the database is named; name some, as host or host:port, separated by commas")]
    NoNodes,
    /// The keyspace's name is none that every database takes.
    #[error(
        "the keyspace is '{0}'; it must be 1 to 48 letters, digits and underscores, beginning with a letter"
    )]
    KeyspaceName(String),
    /// A file of the TLS settings.
    #[error("{path}: {problem}", path = .path.display())]
    TlsFile {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// No name of a node has an address.
    #[error("no address is known for {0}; correct the names of the nodes, or the resolver")]
    Unresolved(String),
    /// No node answers.
    #[error(
        "none of the nodes {nodes} can be reached: {cause}; is the address right, and does a node listen there?"
    )]
    Unreachable {
        /// Which were named.
        nodes: String,
        /// The last one's error.
        cause: String,
    },
    /// The node wants TLS, or something that is not a database answers.
    #[error(
        "a node of {nodes} closed the connection at the first request: {cause}; it may want TLS, so name the CA file of \
         its certificates, or another service may listen there"
    )]
    ClosedAtOnce {
        /// Which were named.
        nodes: String,
        /// How it ended.
        cause: String,
    },
    /// TLS came to nothing.
    #[error(
        "TLS with a node of {nodes} failed: {cause}; the CA file must hold the authority that signed the nodes' \
         certificates, these must name the nodes' IP addresses, and the node must speak TLS on this port"
    )]
    Tls {
        /// Which were named.
        nodes: String,
        /// Why.
        cause: String,
    },
    /// The database wants to know who connects.
    #[error("the database asks for a user and a password, and none are set; set both")]
    CredentialsMissing,
    /// It does not know them.
    #[error("the database refuses the user '{user}' or the password; correct them: {cause}")]
    CredentialsWrong {
        /// Who.
        user: String,
        /// What it said.
        cause: String,
    },
    /// The role may not do what is needed.
    #[error("{doing}: the database does not allow it to this user: {cause}; grant it, or name another user")]
    NotAllowed {
        /// What was tried.
        doing: &'static str,
        /// What was said.
        cause: String,
    },
    /// No node is in the datacenter.
    #[error("no node is in the datacenter '{wanted}'; the cluster has {present}; name one of these")]
    Datacenter {
        /// Which was named.
        wanted: String,
        /// Which there are.
        present: String,
    },
    /// There are several.
    #[error(
        "the cluster has the datacenters {present}, and none is named; name the one that this server is in"
    )]
    DatacenterNeeded {
        /// Which there are.
        present: String,
    },
    /// There is no such keyspace.
    #[error(
        "there is no keyspace '{keyspace}'; correct its name, or make it and its tables with `semel schema apply \
         --scylla-keyspace {keyspace} --replication {}`, whose replication factors are yours to choose",
        replication(.datacenters)
    )]
    NoKeyspace {
        /// Which was named.
        keyspace: String,
        /// The datacenters that there are.
        datacenters: BTreeSet<String>,
    },
    /// The keyspace has no replica where this server is.
    #[error(
        "the keyspace '{keyspace}' has no replica in the datacenter '{datacenter}'; name one that has, or change its \
         replication with ALTER KEYSPACE and repair it"
    )]
    NotReplicated {
        /// Which was named.
        keyspace: String,
        /// Where.
        datacenter: String,
    },
    /// The keyspace has no tables of semel's.
    #[error(
        "the keyspace '{keyspace}' has no tables of semel's; make them with `semel schema apply --scylla-keyspace {keyspace}`"
    )]
    NoSchema {
        /// Which was named.
        keyspace: String,
    },
    /// The schema lacks what this semel needs.
    #[error(
        "the schema of the keyspace '{keyspace}' has number {found}, and this semel needs {needed}; run `semel schema \
         apply --scylla-keyspace {keyspace}` of this release"
    )]
    SchemaTooOld {
        /// Which was named.
        keyspace: String,
        /// Its number.
        found: i32,
        /// The least that will do.
        needed: i32,
    },
    /// A later semel has changed the schema, or writes records, so that this one cannot work with them.
    #[error(
        "the keyspace '{keyspace}' is used by a later semel: {reason}; run that release, or a later one, here too"
    )]
    SchemaTooNew {
        /// Which was named.
        keyspace: String,
        /// What is later.
        reason: String,
    },
    /// Lightweight transactions do not work in this keyspace.
    #[error(
        "the keyspace '{keyspace}' uses tablets, and lightweight transactions work with them from ScyllaDB 2025.4 on; this \
         is {version}: make another keyspace with `semel schema apply`, which turns them off, or upgrade the database"
    )]
    Tablets {
        /// Which was named.
        keyspace: String,
        /// The database's version.
        version: String,
    },
    /// Another `semel schema apply` runs.
    #[error(
        "another `semel schema apply` is at work on the keyspace '{keyspace}'; run it again in {seconds} seconds"
    )]
    BeingApplied {
        /// Which was named.
        keyspace: String,
        /// When its claim ends by itself.
        seconds: i32,
    },
    /// Anything else that the database or the driver said.
    #[error("{doing}: {cause}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// What was said.
        cause: String,
    },
}

impl ConnectError {
    /// Whether the same may work later, without anybody changing a setting or a schema.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unresolved(_)
                | Self::Unreachable { .. }
                | Self::ClosedAtOnce { .. }
                | Self::Database { .. }
        )
    }

    /// What the driver says of a session that did not come about.
    pub(super) fn of_session(error: &NewSessionError, nodes: &[String], user: Option<&str>) -> Self {
        match error {
            NewSessionError::EmptyKnownNodesList => Self::NoNodes,
            NewSessionError::FailedToResolveAnyHostname(names) => Self::Unresolved(names.join(", ")),
            NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
                ConnectionPoolError::Broken { last_connection_error },
            )) => Self::of_connection(last_connection_error, nodes, user),
            other => Self::Database { doing: "connecting to the database", cause: other.to_string() },
        }
    }

    fn of_connection(error: &ConnectionError, nodes: &[String], user: Option<&str>) -> Self {
        let (nodes, cause) = (nodes.join(", "), error.to_string());
        match error {
            ConnectionError::IoError(io)
                if io.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                Self::Tls { nodes, cause }
            }
            ConnectionError::ConnectionSetupRequestError(setup) => match setup.get_error() {
                ConnectionSetupRequestErrorKind::MissingAuthentication => Self::CredentialsMissing,
                ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, message) => {
                    Self::CredentialsWrong {
                        user: user.unwrap_or_default().to_owned(),
                        cause: message.clone(),
                    }
                }
                ConnectionSetupRequestErrorKind::BrokenConnection(broken) if is_tls(broken) => {
                    Self::Tls { nodes, cause }
                }
                ConnectionSetupRequestErrorKind::BrokenConnection(_) => Self::ClosedAtOnce { nodes, cause },
                _ => Self::Database { doing: "connecting to the database", cause },
            },
            ConnectionError::BrokenConnection(broken) if is_tls(broken) => Self::Tls { nodes, cause },
            ConnectionError::BrokenConnection(_) => Self::ClosedAtOnce { nodes, cause },
            _ => Self::Unreachable { nodes, cause },
        }
    }

    pub(super) fn executing(doing: &'static str, error: &ExecutionError) -> Self {
        let cause = described(error);
        match error {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _)) => {
                Self::NotAllowed { doing, cause }
            }
            // The driver waits by itself for those that know of a change.
            ExecutionError::SchemaAgreementError(error) => Self::agreeing(error),
            _ => Self::Database { doing, cause },
        }
    }

    pub(super) fn preparing(error: &PrepareError) -> Self {
        Self::Database { doing: "preparing the statements", cause: error.to_string() }
    }

    pub(super) fn agreeing(error: &SchemaAgreementError) -> Self {
        Self::Database {
            doing: "waiting until all nodes have the same schema",
            cause: format!("{error}; run it again when every node is up and sees the others"),
        }
    }
}

/// Three replicas in each datacenter, as a flag takes it.
fn replication(datacenters: &BTreeSet<String>) -> String {
    let factors: Vec<_> = datacenters.iter().map(|name| format!("{name}=3")).collect();
    if factors.is_empty() { "DATACENTER=3".to_owned() } else { factors.join(",") }
}

/// Whether a connection broke for TLS: the node may refuse our certificate only after the handshake seemed done.
fn is_tls(broken: &BrokenConnectionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(broken);
    let text = broken.to_string();
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        cause = error.source();
    }
    // The driver keeps some causes as text alone; rustls calls what a peer objects to an alert.
    text.contains("received fatal alert")
}
