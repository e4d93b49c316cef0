//! The tables, their versions, and what the cluster should be told.
//!
//! Migrations are numbered, additive and idempotent: each can be run again, and whatever worked before it still does. So
//! servers of the release before go on beside it. Records are written in the format that the schema names, which
//! [`apply`] raises to the latest of its own release: it is run when every server runs that release. [`prepare`] leaves
//! the format as it is: it is run before.

use std::collections::HashMap;

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Statement;
use uuid::Uuid;

use super::connect_error::ConnectError;
use super::expiry::longest_ttl;
use super::session::{self, Connected, DEFINITION_TIMEOUT, named};
use super::settings::Settings;
use crate::domain::Timestamp;
use crate::storage::record_codec::{Codec, FormatVersion};

mod advice;
mod database;
mod definition;

use advice::Facts;
pub use database::{Database, Product};
pub use definition::Replication;

/// A step from one schema to the next.
struct Migration {
    number: i32,
    /// The oldest release that works with it, by the number of the schema that came with that release.
    usable_from: i32,
    statements: fn(&str, &Database) -> Vec<String>,
}

const MIGRATIONS: &[Migration] =
    &[Migration { number: 1, usable_from: 1, statements: definition::version_1 }];
/// The latest schema that this release knows.
pub const LATEST: i32 = 1;
/// The oldest schema that this release works with.
pub const OLDEST: i32 = 1;
/// How long a claim to be the one that applies lasts, should the process die.
const CLAIM_SECONDS: i32 = 300;

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which database.
    pub database: Database,
    /// The datacenter that is spoken to.
    pub datacenter: String,
    /// The schema's number.
    pub number: i32,
    /// The format in which records are written.
    pub record_format: FormatVersion,
    /// What works, and should be otherwise all the same: a sentence each.
    pub advice: Vec<String>,
}

/// What [`apply`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The statements that were executed, in order.
    pub statements: Vec<String>,
    /// The schema's number before; 0 where there was none.
    pub from: i32,
    /// What is there now.
    pub state: State,
}

/// Everything that [`apply`] would execute on an empty cluster of this kind, for those who do it by hand.
pub fn print(keyspace: &str, replication: &Replication, database: &Database) -> Vec<String> {
    let mut statements =
        vec![definition::keyspace(keyspace, replication, database), definition::schema_version(keyspace)];
    for migration in MIGRATIONS {
        statements.extend((migration.statements)(keyspace, database));
        statements.push(format!(
            "UPDATE \"{keyspace}\".schema_version SET number = {}, usable_from = {}, record_format = {} \
             WHERE part = 'semel'",
            migration.number,
            migration.usable_from,
            FormatVersion::LATEST
        ));
    }
    statements
}

/// Asks the cluster which database it is.
pub async fn detect(settings: &Settings) -> Result<Database, ConnectError> {
    Database::detect(&session::open(settings).await?.session).await
}

/// Looks at what is there, and refuses what this release cannot work with.
pub async fn check(settings: &Settings) -> Result<State, ConnectError> {
    let connected = session::open(settings).await?;
    let (state, _) = checked(&connected, settings).await?;
    Ok(state)
}

/// Makes what is missing, step by step, each when the nodes agree on the one before. The keyspace, where it is missing,
/// is made with `replication`; one that is there keeps what it has.
pub async fn apply(settings: &Settings, replication: Option<&Replication>) -> Result<Applied, ConnectError> {
    make(settings, replication, Format::Raised).await
}

/// The same, but records that are there already go on in the format that they are written in, which servers of the
/// release before can read.
pub async fn prepare(
    settings: &Settings,
    replication: Option<&Replication>,
) -> Result<Applied, ConnectError> {
    make(settings, replication, Format::Kept).await
}

/// In which format records are written afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// The latest of this release.
    Raised,
    /// The one of before; the latest where there were none.
    Kept,
}

async fn make(
    settings: &Settings,
    replication: Option<&Replication>,
    format: Format,
) -> Result<Applied, ConnectError> {
    let connected = session::open(settings).await?;
    let schema = Schema { session: &connected.session, keyspace: &settings.keyspace };
    let database = Database::detect(&connected.session).await?;
    let mut statements = Vec::new();

    if schema.replication().await?.is_none() {
        let Some(replication) = replication else {
            return Err(ConnectError::NoKeyspace {
                keyspace: settings.keyspace.clone(),
                datacenters: connected.datacenters.clone(),
            });
        };
        if let Some(unknown) =
            replication.factors().keys().find(|name| !connected.datacenters.contains(*name))
        {
            return Err(ConnectError::Datacenter {
                wanted: unknown.clone(),
                present: named(&connected.datacenters),
            });
        }
        let create = definition::keyspace(&settings.keyspace, replication, &database);
        schema.define(&create).await?;
        statements.push(create);
    }
    refuse_tablets(&connected, settings, &database).await?;
    // Looked for first: two at once that make the same table could give it two identities.
    if !schema.has_version_table().await? {
        let create = definition::schema_version(&settings.keyspace);
        schema.define(&create).await?;
        statements.push(create);
    }

    let claim = Uuid::new_v4();
    schema.claim(claim).await?;
    let done = schema.migrate(claim, &database, (settings.codec, format), &mut statements).await;
    let released = schema.release(claim).await;
    let from = done?;
    released?;
    let (state, _) = checked(&connected, settings).await?;
    Ok(Applied { statements, from, state })
}

/// What changes while a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Current {
    pub(super) record_format: FormatVersion,
    /// The longest TTL that the database takes now.
    pub(super) longest_ttl: i32,
    /// Whether that is because its moments of expiry end in 2038.
    pub(super) ends_in_2038: bool,
}

/// What is there, or why it will not do.
pub(super) async fn checked(
    connected: &Connected,
    settings: &Settings,
) -> Result<(State, Current), ConnectError> {
    let schema = Schema { session: &connected.session, keyspace: &settings.keyspace };
    let keyspace = || settings.keyspace.clone();
    let database = Database::detect(&connected.session).await?;
    let Some(replication) = schema.replication().await? else {
        return Err(ConnectError::NoKeyspace {
            keyspace: keyspace(),
            datacenters: connected.datacenters.clone(),
        });
    };
    let nodes = connected.session.get_cluster_state();
    let local = |datacenter: &Option<String>| datacenter.as_ref() == Some(&connected.datacenter);
    let facts = Facts {
        keyspace: keyspace(),
        datacenter: connected.datacenter.clone(),
        nodes: nodes.get_nodes_info().iter().filter(|node| local(&node.datacenter)).count(),
        replication,
        settings: schema.node_settings(&database).await?,
        request_timeout: settings.request_timeout,
    };
    if facts.replicas().is_none() {
        return Err(ConnectError::NotReplicated {
            keyspace: keyspace(),
            datacenter: connected.datacenter.clone(),
        });
    }
    refuse_tablets(connected, settings, &database).await?;
    if !schema.has_version_table().await? {
        return Err(ConnectError::NoSchema { keyspace: keyspace() });
    }
    let Some(version) = schema.version().await? else {
        return Err(ConnectError::NoSchema { keyspace: keyspace() });
    };
    usable(&version, &settings.keyspace, settings.codec)?;
    let ends_in_2038 = facts.expiry_ends_in_2038();
    let current = Current {
        record_format: version.record_format,
        longest_ttl: longest_ttl(schema.now().await?, ends_in_2038),
        ends_in_2038,
    };
    let state = State {
        database,
        datacenter: connected.datacenter.clone(),
        number: version.number,
        record_format: version.record_format,
        advice: facts.advice(),
    };
    Ok((state, current))
}

/// What may have changed since the store opened.
pub(super) async fn current(
    session: &Session,
    settings: &Settings,
    ends_in_2038: bool,
) -> Result<Current, ConnectError> {
    let schema = Schema { session, keyspace: &settings.keyspace };
    let missing = || ConnectError::NoSchema { keyspace: settings.keyspace.clone() };
    let version = schema.version().await?.ok_or_else(missing)?;
    usable(&version, &settings.keyspace, settings.codec)?;
    let longest_ttl = longest_ttl(schema.now().await?, ends_in_2038);
    Ok(Current { record_format: version.record_format, longest_ttl, ends_in_2038 })
}

/// The row of `schema_version`.
#[derive(Clone, Copy, Debug)]
struct Version {
    number: i32,
    usable_from: i32,
    record_format: FormatVersion,
}

fn usable(version: &Version, keyspace: &str, codec: Codec) -> Result<(), ConnectError> {
    let keyspace = keyspace.to_owned();
    if version.number < OLDEST {
        return Err(ConnectError::SchemaTooOld { keyspace, found: version.number, needed: OLDEST });
    }
    if version.usable_from > LATEST {
        let reason =
            format!("its schema has number {}, and this semel knows those up to {LATEST}", version.number);
        return Err(ConnectError::SchemaTooNew { keyspace, reason });
    }
    if version.record_format > codec.latest() {
        let reason = format!(
            "its records are written in format {}, and this semel reads those up to {}",
            version.record_format,
            codec.latest()
        );
        return Err(ConnectError::SchemaTooNew { keyspace, reason });
    }
    Ok(())
}

async fn refuse_tablets(
    connected: &Connected,
    settings: &Settings,
    database: &Database,
) -> Result<(), ConnectError> {
    if !database.tablets_must_be_off() {
        return Ok(());
    }
    // The keyspace may have been made a moment ago.
    connected.session.refresh_metadata().await.map_err(|error| ConnectError::Database {
        doing: "reading the keyspace's properties",
        cause: error.to_string(),
    })?;
    let tablets = connected
        .session
        .get_cluster_state()
        .get_keyspace(&settings.keyspace)
        .is_some_and(|keyspace| keyspace.tablet_based);
    if tablets {
        return Err(ConnectError::Tablets {
            keyspace: settings.keyspace.clone(),
            version: database.version.clone(),
        });
    }
    Ok(())
}

/// A keyspace's schema, through a session.
#[derive(Clone, Copy, Debug)]
struct Schema<'a> {
    session: &'a Session,
    keyspace: &'a str,
}

type Texts = HashMap<String, String>;

impl Schema<'_> {
    async fn rows<Row>(
        &self,
        question: &str,
        values: impl SerializeRow,
        doing: &'static str,
    ) -> Result<Vec<Row>, ConnectError>
    where
        Row: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>,
    {
        let unreadable = |cause: String| ConnectError::Database { doing, cause };
        let answer = self.session.query_unpaged(question, values).await;
        let answer = answer
            .map_err(|error| ConnectError::executing(doing, &error))?
            .into_rows_result()
            .map_err(|error| unreadable(error.to_string()))?;
        let rows = answer.rows::<Row>().map_err(|error| unreadable(error.to_string()))?;
        rows.collect::<Result<_, _>>().map_err(|error| unreadable(error.to_string()))
    }

    /// As `system_schema` has it; `None` where there is no such keyspace.
    async fn replication(&self) -> Result<Option<Texts>, ConnectError> {
        let question = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let rows: Vec<(Texts,)> = self.rows(question, (self.keyspace,), "looking for the keyspace").await?;
        Ok(rows.into_iter().next().map(|(replication,)| replication))
    }

    async fn has_version_table(&self) -> Result<bool, ConnectError> {
        let question = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'schema_version'";
        let rows: Vec<(String,)> = self.rows(question, (self.keyspace,), "looking for the tables").await?;
        Ok(!rows.is_empty())
    }

    async fn version(&self) -> Result<Option<Version>, ConnectError> {
        let question = format!(
            "SELECT number, usable_from, record_format FROM \"{}\".schema_version WHERE part = 'semel'",
            self.keyspace
        );
        let rows: Vec<(Option<i32>, Option<i32>, Option<i32>)> =
            self.rows(&question, (), "reading the schema's number").await?;
        Ok(rows.into_iter().next().and_then(|(number, usable_from, record_format)| {
            Some(Version {
                number: number?,
                usable_from: usable_from?,
                record_format: u8::try_from(record_format?).ok().and_then(FormatVersion::new)?,
            })
        }))
    }

    /// The database's clock.
    async fn now(&self) -> Result<Timestamp, ConnectError> {
        let question = "SELECT toUnixTimestamp(now()) FROM system.local";
        let rows: Vec<(i64,)> = self.rows(question, (), "asking the database what time it is").await?;
        let millis = rows.first().map_or(0, |(millis,)| *millis);
        Ok(Timestamp::from_micros(u64::try_from(millis).unwrap_or(0).saturating_mul(1000)))
    }

    /// Those that advice is about; none from ScyllaDB, and from a Cassandra that does not tell.
    async fn node_settings(&self, database: &Database) -> Result<Texts, ConnectError> {
        if database.product == Product::ScyllaDb {
            return Ok(Texts::new());
        }
        let question = "SELECT name, value FROM system_views.settings";
        let doing = "reading the node's settings";
        let rows: Vec<(String, Option<String>)> = match self.rows(question, (), doing).await {
            Ok(rows) => rows,
            // Before 4.0 there are none to read, and a role may not be allowed to. Advice is all that hangs on it.
            Err(ConnectError::Database { .. } | ConnectError::NotAllowed { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let told = rows.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Ok(told.filter(|(name, _)| advice::SETTINGS.contains(&name.as_str())).collect())
    }

    /// Executes a statement of data definition, and waits until every node has seen it.
    async fn define(&self, statement: &str) -> Result<(), ConnectError> {
        let mut definition = Statement::new(statement);
        definition.set_request_timeout(Some(DEFINITION_TIMEOUT));
        self.session
            .query_unpaged(definition, ())
            .await
            .map_err(|error| ConnectError::executing("defining the tables", &error))?;
        self.session.await_schema_agreement().await.map_err(|error| ConnectError::agreeing(&error))?;
        Ok(())
    }

    /// One at a time: two that define the same tables at once could leave the nodes with two versions of one.
    async fn claim(&self, claim: Uuid) -> Result<(), ConnectError> {
        let statement = format!(
            "UPDATE \"{}\".schema_version USING TTL {CLAIM_SECONDS} SET applying = ? WHERE part = 'semel' \
             IF applying = null",
            self.keyspace
        );
        if self.conditional(&statement, (claim,)).await? {
            return Ok(());
        }
        Err(ConnectError::BeingApplied { keyspace: self.keyspace.to_owned(), seconds: CLAIM_SECONDS })
    }

    async fn release(&self, claim: Uuid) -> Result<(), ConnectError> {
        let statement = format!(
            "UPDATE \"{}\".schema_version SET applying = null WHERE part = 'semel' IF applying = ?",
            self.keyspace
        );
        // Where it ran out, another may have it by now.
        self.conditional(&statement, (claim,)).await.map(|_| ())
    }

    /// The number before.
    async fn migrate(
        &self,
        claim: Uuid,
        database: &Database,
        (codec, format): (Codec, Format),
        statements: &mut Vec<String>,
    ) -> Result<i32, ConnectError> {
        let before = self.version().await?;
        let format = match before {
            Some(version) if format == Format::Kept => version.record_format,
            _ => codec.latest(),
        };
        let from = before.map_or(0, |version| version.number);
        if let Some(version) = before.filter(|version| version.number >= OLDEST) {
            usable(&version, self.keyspace, codec)?;
        }
        let due: Vec<_> = MIGRATIONS.iter().filter(|migration| migration.number > from).collect();
        for migration in &due {
            for statement in (migration.statements)(self.keyspace, database) {
                self.define(&statement).await?;
                statements.push(statement);
            }
            let version = Version {
                number: migration.number,
                usable_from: migration.usable_from,
                record_format: format,
            };
            statements.push(self.record(claim, version).await?);
        }
        if let Some(version) = before.filter(|before| due.is_empty() && before.record_format < format) {
            statements.push(self.record(claim, Version { record_format: format, ..version }).await?);
        }
        Ok(from)
    }

    /// Says what the schema is from now on, and returns the statement that said it.
    async fn record(&self, claim: Uuid, version: Version) -> Result<String, ConnectError> {
        let Version { number, usable_from, record_format } = version;
        let statement = format!(
            "UPDATE \"{}\".schema_version SET number = {number}, usable_from = {usable_from}, \
             record_format = {record_format} WHERE part = 'semel' IF applying = ?",
            self.keyspace
        );
        if self.conditional(&statement, (claim,)).await? {
            return Ok(statement);
        }
        Err(ConnectError::BeingApplied { keyspace: self.keyspace.to_owned(), seconds: CLAIM_SECONDS })
    }

    /// Whether the condition held.
    async fn conditional(&self, statement: &str, values: impl SerializeRow) -> Result<bool, ConnectError> {
        const DOING: &str = "recording the schema's number";
        let unreadable = |cause: String| ConnectError::Database { doing: DOING, cause };
        let failed = |error: ExecutionError| ConnectError::executing(DOING, &error);
        let answer = self.session.query_unpaged(statement, values).await.map_err(failed)?;
        let columns = super::rows::first_row(answer).map_err(|error| unreadable(error.to_string()))?;
        let answer = super::rows::answer(columns).map_err(|error| unreadable(error.to_string()))?;
        Ok(answer == super::rows::Answer::Applied)
    }
}
