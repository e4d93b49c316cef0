//! `semel schema`: the tables of a database that servers share.

use std::fmt::Write as _;
use std::num::NonZeroU8;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::config_command::StoreArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::in_runtime;
use super::output::{self, Field, Output, Report, Value, write_out};
use crate::storage::scylla::schema::{self, Database, Product, Replication, State};
use crate::storage::scylla::{ConnectError, Settings};

/// The tables of a database that servers share
#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print all that `apply` would execute on an empty cluster, for those who do it by hand
    Print(Print),
    /// Make what is missing, each step when all nodes agree on the one before; what is there stays
    Apply(Apply),
    /// Look at what is there, and say whether this release works with it
    Check(Check),
}

/// Print the statements
#[derive(Debug, Args)]
pub(crate) struct Print {
    /// How many replicas each datacenter has, such as dc1=3,dc2=3
    #[arg(long, value_name = "DATACENTER=COUNT,…")]
    replication: Replicas,
    /// For which database, without asking the cluster: cassandra:5.0, scylladb:2025.4
    #[arg(long, value_name = "PRODUCT:VERSION")]
    database: Option<Dialect>,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: StoreArgs,
}

/// Make the tables
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// For a keyspace that is not there yet: how many replicas each datacenter has, such as dc1=3,dc2=3
    #[arg(long, value_name = "DATACENTER=COUNT,…")]
    replication: Option<Replicas>,
    /// Leave records in the format that they are written in, so that servers of the release before go on and can come
    /// back; without it, the format is raised to the latest that this release writes
    #[arg(long)]
    keep_record_format: bool,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: StoreArgs,
}

/// Check the tables
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: StoreArgs,
}

impl SchemaCommand {
    pub(crate) fn run(self) -> Exit {
        match self {
            Self::Print(command) => command.run(),
            Self::Apply(command) => command.run(),
            Self::Check(command) => command.run(),
        }
    }
}

impl Print {
    fn run(self) -> Exit {
        let stores = match self.settings.load() {
            Ok(stores) => stores,
            Err(exit) => return exit,
        };
        let made = in_runtime(async {
            let database = match (self.database, &stores.scylla) {
                (Some(Dialect(database)), _) => database,
                (None, Some(settings)) => schema::detect(settings).await?,
                (None, None) => {
                    return Err(Failure::Usage(
                        "which database? name it with --database, or its nodes with --scylla-nodes"
                            .to_owned(),
                    ));
                }
            };
            Ok(schema::print(&stores.keyspace, &self.replication.0, &database))
        });
        match (made, self.output) {
            (Ok(statements), Output::Human) => {
                write_out(&as_text(&statements));
                Exit::DONE
            }
            (made, output) => {
                let report = made.map(|statements| Report {
                    headline: String::new(),
                    fields: vec![("statements", texts(statements))],
                    exit: Exit::DONE,
                });
                output::print(&report, output, &[])
            }
        }
    }
}

impl Apply {
    fn run(self) -> Exit {
        let settings = match database(self.settings) {
            Ok(settings) => settings,
            Err(exit) => return exit,
        };
        let replication = self.replication.map(|replicas| replicas.0);
        let report = in_runtime(async {
            let applied = if self.keep_record_format {
                schema::prepare(&settings, replication.as_ref()).await?
            } else {
                schema::apply(&settings, replication.as_ref()).await?
            };
            let headline = if applied.statements.is_empty() {
                "nothing to do: the schema is as this release makes it".to_owned()
            } else {
                format!("done, by {} statements", applied.statements.len())
            };
            let mut fields = described(&settings, &applied.state);
            fields.push(("number_before", Value::Number(applied.from.into())));
            fields.push(("statements", texts(applied.statements)));
            Ok(Report { headline, fields, exit: Exit::DONE })
        });
        output::print(&report, self.output, &[])
    }
}

impl Check {
    fn run(self) -> Exit {
        let settings = match database(self.settings) {
            Ok(settings) => settings,
            Err(exit) => return exit,
        };
        let report = in_runtime(async {
            let state = schema::check(&settings).await?;
            let headline = "this release works with the schema".to_owned();
            Ok(Report { headline, fields: described(&settings, &state), exit: Exit::DONE })
        });
        output::print(&report, self.output, &[])
    }
}

/// The database's settings, which this command cannot do without.
fn database(settings: StoreArgs) -> Result<Settings, Exit> {
    settings.load()?.scylla.ok_or_else(|| output::print(&Err(no_database()), Output::Human, &[]))
}

/// Why a command that needs a database does nothing.
pub(crate) fn no_database() -> Failure {
    let cause = "no database is named; name some of its nodes with --scylla-nodes, SEMEL_SCYLLA_NODES, or nodes in the \
                 [scylla] table of the settings file";
    Failure::Store { exit: Exit::CONFIGURATION, cause: cause.to_owned() }
}

fn described(settings: &Settings, state: &State) -> Vec<Field> {
    vec![
        ("database", Value::text(state.database.to_string())),
        ("datacenter", Value::text(&state.datacenter)),
        ("keyspace", Value::text(&settings.keyspace)),
        ("number", Value::Number(state.number.into())),
        ("record_format", Value::Number(state.record_format.get().into())),
        ("advice", texts(state.advice.clone())),
    ]
}

fn texts(texts: Vec<String>) -> Value {
    Value::List(texts.into_iter().map(Value::Text).collect())
}

fn as_text(statements: &[String]) -> String {
    statements.iter().fold(String::new(), |mut text, statement| {
        _ = writeln!(text, "{statement};");
        text
    })
}

/// `dc1=3,dc2=3`.
#[derive(Clone, Debug)]
struct Replicas(Replication);

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let (datacenter, count) = part.trim().split_once('=')?;
            let count = count.parse::<NonZeroU8>().ok()?;
            (!datacenter.is_empty()).then(|| (datacenter.to_owned(), count))
        };
        let parts: Vec<_> = text.split(',').collect();
        let factors: Option<Vec<_>> = parts.iter().map(|part| one(part)).collect();
        let factors = factors.ok_or(
            "is not of the form DATACENTER=COUNT,…, with counts of 1 to 255; write for instance dc1=3,dc2=3",
        )?;
        let replication = Replication::new(factors).filter(|made| made.factors().len() == parts.len());
        replication.map(Self).ok_or_else(|| "names a datacenter twice".to_owned())
    }
}

/// `cassandra:5.0`.
#[derive(Clone, Debug)]
struct Dialect(Database);

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (product, version) = text.split_once(':').unwrap_or((text, ""));
        let product = match product {
            "cassandra" => Product::Cassandra,
            "scylladb" => Product::ScyllaDb,
            _ => return Err("names no database; write cassandra:VERSION or scylladb:VERSION".to_owned()),
        };
        if !version.starts_with(|first: char| first.is_ascii_digit()) {
            return Err("has no version; write it after a colon, such as cassandra:5.0".to_owned());
        }
        Ok(Self(Database::new(product, version)))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let exit = match &error {
            ConnectError::Unresolved(_)
            | ConnectError::Unreachable { .. }
            | ConnectError::ClosedAtOnce { .. }
            | ConnectError::BeingApplied { .. }
            | ConnectError::Database { .. } => Exit::UNAVAILABLE,
            ConnectError::CredentialsMissing
            | ConnectError::CredentialsWrong { .. }
            | ConnectError::NotAllowed { .. } => Exit::NOT_ALLOWED,
            ConnectError::NoKeyspace { .. }
            | ConnectError::NotReplicated { .. }
            | ConnectError::NoSchema { .. }
            | ConnectError::SchemaTooOld { .. }
            | ConnectError::SchemaTooNew { .. }
            | ConnectError::Tablets { .. } => Exit::SCHEMA,
            ConnectError::NoNodes
            | ConnectError::KeyspaceName(_)
            | ConnectError::TlsFile { .. }
            | ConnectError::Tls { .. }
            | ConnectError::Datacenter { .. }
            | ConnectError::DatacenterNeeded { .. } => Exit::CONFIGURATION,
        };
        Self::Store { exit, cause: error.to_string() }
    }
}
