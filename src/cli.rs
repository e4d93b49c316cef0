//! The command line: one file for each command, and one for each thing that several of them share.

mod abort;
mod archive_report;
mod backup;
mod begin;
mod bench;
mod checkpoint;
mod client;
mod complete;
mod config_command;
mod encryption_key;
mod exit;
mod failure;
mod forget;
mod identity;
mod list;
mod lookup;
mod once;
mod output;
mod policy;
mod record_view;
mod renew;
mod resolve;
mod restore;
mod result_args;
mod schema;
mod serve;
mod store;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::client::Client;
use self::exit::Exit;
use self::failure::Failure;
use self::output::{Output, Report};

/// Decides once who performs a side effect, and replays the result to everyone else.
#[derive(Debug, Parser)]
#[command(name = "semel", version, after_help = exit::SEE_LONG_HELP, after_long_help = exit::table())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Serve),
    /// Reserve a key, or learn what became of it
    Begin(begin::Begin),
    /// Store the result of the attempt that holds the fence
    Complete(complete::Complete),
    /// Give a key up without a result
    Abort(abort::Abort),
    /// Extend the owner's lease
    Renew(renew::Renew),
    /// Save a recovery point that the next attempt receives
    Checkpoint(checkpoint::Checkpoint),
    /// Tell what is known of a key, and change nothing
    Lookup(lookup::Lookup),
    /// Run a command only if its key has not run, and replay its output and exit status to whoever asks again
    Once(once::Once),
    /// For operators: page through a tenant's records
    List(list::List),
    /// For operators: settle a record whose outcome nobody knows, or many at once
    Resolve(resolve::Resolve),
    /// For operators: erase a record, all but its fence
    Forget(forget::Forget),
    /// For operators: tell the policy in force for a tenant and an endpoint
    Policy(policy::PolicyInForce),
    /// Put load on a server, and check everything it answers
    Bench(bench::Bench),
    /// The tables of a database that servers share: print, make or check them
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Write all records of an embedded store to a file, while its server runs
    Backup(backup::Backup),
    /// Make an embedded store of a backup, marked as restored
    Restore(restore::Restore),
    /// Records between stores
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Bearer tokens: create, list and revoke them
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// The keys under which a server encrypts what it stores
    #[command(subcommand)]
    EncryptionKey(encryption_key::EncryptionKeyCommand),
    /// Check or print the server's configuration
    #[command(subcommand)]
    Config(config_command::ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    Cli::parse().command.run().into()
}

impl Command {
    fn run(self) -> Exit {
        match self {
            Self::Serve(command) => command.run(),
            Self::Begin(command) => call(&command.target, command.output, begin::FIELDS, async |client| {
                command.report(client).await
            }),
            Self::Complete(command) => {
                call(&command.target, command.output, &[], async |client| command.report(client).await)
            }
            Self::Abort(command) => {
                call(&command.target, command.output, &[], async |client| command.report(client).await)
            }
            Self::Renew(command) => {
                call(&command.target, command.output, &[], async |client| command.report(client).await)
            }
            Self::Checkpoint(command) => {
                call(&command.target, command.output, &[], async |client| command.report(client).await)
            }
            Self::Lookup(command) => {
                call(&command.target, command.output, record_view::FIELDS, async |client| {
                    command.report(client).await
                })
            }
            Self::Once(command) => command.run(),
            Self::List(command) => command.run(),
            Self::Resolve(command) => command.run(),
            Self::Forget(command) => {
                call(&command.target, command.output, &[], async |client| command.report(client).await)
            }
            Self::Policy(command) => {
                call(&command.target, command.output, &[], async |client| command.report(client).await)
            }
            Self::Bench(command) => command.run(),
            Self::Schema(command) => command.run(),
            Self::Backup(command) => command.run(),
            Self::Restore(command) => command.run(),
            Self::Store(command) => command.run(),
            Self::Token(command) => command.run(),
            Self::EncryptionKey(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "semel", &mut std::io::stdout());
                Exit::DONE
            }
        }
    }
}

/// Runs one call against the server and prints what came of it.
fn call(
    target: &client::Target,
    output: Output,
    fields: &'static [&'static str],
    report: impl AsyncFnOnce(&Client) -> Result<Report, Failure>,
) -> Exit {
    let report = in_runtime(async { report(&Client::new(&target.connection)?).await });
    output::print(&report, output, fields)
}

/// Runs `work` on this thread: a command has few things to do at a time.
fn in_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Local(format!("cannot start the asynchronous runtime: {error}")))?;
    let done = runtime.block_on(work);
    // A write to a reader who takes nothing must not keep the process.
    runtime.shutdown_background();
    done
}
