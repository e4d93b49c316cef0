//! `semel bench`: load on a server, and a check of everything it answers.

use std::io::{IsTerminal, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::client::AccessArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::write_out;
use crate::bench::{self, Amount, ComparisonPlan, NoopProcess, Plan, Progress, Report, RunError, Servers};
use crate::config::{parse_duration, parse_size};

/// Load on a server, checked against what it promises.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answer every Begin with Started at once: what --compare-noop compares with
    #[command(hide = true)]
    NoopServer,
}

#[derive(Debug, Args)]
struct Load {
    /// The server's address; given again, or parted by commas, those of several servers on one store. Calls are
    /// spread over them, and one whose connection broke is sent again to another
    #[arg(
        long = "server",
        env = "SEMEL_SERVER",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7400"
    )]
    servers: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
    /// Whose keys to make
    #[arg(long, env = "SEMEL_TENANT", default_value = "default")]
    tenant: String,
    /// The endpoint of the keys
    #[arg(long, default_value = "semel.bench")]
    endpoint: String,
    /// How many keys to begin and complete [default: 10000]
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    lifecycles: Option<u64>,
    /// How long to go on, instead of a number of keys
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Callers per second, whether or not earlier ones were answered; latencies count from when each was due (open
    /// loop). Without it each caller is followed by the next one (closed loop)
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Callers served at a time, at most
    #[arg(long, value_name = "N", default_value_t = 64)]
    concurrency: usize,
    /// Connections they share [default: 2]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Share of callers who begin a key that another has begun
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    duplicates: f64,
    /// Share of those who come while the key is under way; the others come after it was completed [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    concurrent: Option<f64>,
    /// How much duplicates prefer the newest keys: the exponent of Zipf's law; 0: not at all
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.0)]
    skew: f64,
    /// Size of each result's payload, or a range such as 0..4KiB
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = parse_sizes)]
    payload_bytes: RangeInclusive<usize>,
    /// Share of owners who give their key up once and begin it again
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    abort_share: f64,
    /// Share of owners who renew their lease once
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    renew_share: f64,
    /// How long an owner works before it completes
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    work: Duration,
    /// The lease to ask for [default: the policy's]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// The retention to ask for [default: the policy's]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    retention: Option<Duration>,
    /// Let a Begin be held for so long while another attempt runs
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// The deadline of each call
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// What the keys begin with
    #[arg(long, default_value = "bench")]
    key_prefix: String,
    /// Makes the keys, attempts and payloads; a store that has met it holds those keys [default: a new one]
    #[arg(long)]
    seed: Option<u64>,
    /// End early after that many violations
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_violations: usize,
    /// Then also measure Begin and Complete beside a server that does nothing, in alternating rounds
    #[arg(long)]
    compare_noop: bool,
    /// Rounds of the comparison
    #[arg(long, value_name = "N", default_value_t = 5, requires = "compare_noop")]
    compare_rounds: usize,
    /// Calls of each kind in a round
    #[arg(long, value_name = "N", default_value_t = 5_000, requires = "compare_noop")]
    compare_calls: u64,
    /// Tell of the progress on standard error each second, even where that is no terminal
    #[arg(long)]
    progress: bool,
    /// For people, or one JSON object
    #[arg(long, value_enum, default_value_t = Form::Human)]
    output: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// For people; may change with any release
    Human,
    /// One JSON object on one line
    Json,
}

impl Bench {
    pub(crate) fn run(self) -> Exit {
        let done = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Local(format!("cannot start the asynchronous runtime: {error}")))
            .and_then(|runtime| {
                runtime.block_on(async {
                    match self.role {
                        Some(Role::NoopServer) => serve_noop().await,
                        None => self.load.run().await,
                    }
                })
            });
        done.unwrap_or_else(|failure| {
            eprintln!("semel: {failure}");
            failure.exit()
        })
    }
}

impl Load {
    async fn run(self) -> Result<Exit, Failure> {
        let servers = self.servers()?;
        let plan = self.plan();
        let stop = CancellationToken::new();
        let stopper = stop.clone();
        let interrupt = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stopper.cancel();
            }
        });
        let mut line = ProgressLine::new(self.progress);
        let report = bench::run(&servers, plan.clone(), stop, |progress| line.show(progress)).await;
        line.end();
        interrupt.abort();
        let mut report = report.map_err(|error| failure(error, self.timeout))?;
        if self.compare_noop && report.passed() {
            report.comparison = Some(self.compare(&servers, &plan).await?);
        }
        self.print(&report)?;
        Ok(if report.passed() { Exit::DONE } else { Exit::VIOLATED })
    }

    fn servers(&self) -> Result<Servers, Failure> {
        let remote = |server: &String| self.access.remote(server, |endpoint| endpoint);
        let mut servers = self.servers.iter().map(remote).collect::<Result<Vec<_>, _>>()?.into_iter();
        let first = servers.next().ok_or_else(|| Failure::Usage("--server names no server".to_owned()))?;
        Ok(Servers::new(first, servers.collect()))
    }

    fn plan(&self) -> Plan {
        Plan {
            amount: self
                .duration
                .map_or_else(|| Amount::Lifecycles(self.lifecycles.unwrap_or(10_000)), Amount::For),
            rate: self.rate,
            concurrency: self.concurrency,
            connections: self.connections.unwrap_or(2.min(self.concurrency)),
            duplicates: self.duplicates,
            concurrent: self.concurrent.unwrap_or(if self.concurrency > 1 { 0.5 } else { 0.0 }),
            skew: self.skew,
            payload_bytes: self.payload_bytes.clone(),
            abort_share: self.abort_share,
            renew_share: self.renew_share,
            work: self.work,
            lease: self.lease,
            retention: self.retention,
            wait: self.wait,
            timeout: self.timeout,
            tenant: self.tenant.clone(),
            endpoint: self.endpoint.clone(),
            key_prefix: self.key_prefix.clone(),
            seed: self.seed.unwrap_or_else(rand::random),
            max_violations: self.max_violations,
        }
    }

    async fn compare(&self, servers: &Servers, plan: &Plan) -> Result<bench::Comparison, Failure> {
        let no_process = |error| Failure::Local(format!("cannot start the no-op server: {error}"));
        let program = std::env::current_exe().map_err(no_process)?;
        let noop = NoopProcess::start(&program).await.map_err(no_process)?;
        let of = ComparisonPlan { rounds: self.compare_rounds.max(1), calls: self.compare_calls.max(1) };
        bench::compare(servers, &noop.endpoint, plan, of).await.map_err(|error| failure(error, self.timeout))
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        let text = match self.output {
            Form::Human => report.to_string(),
            Form::Json => {
                let json = serde_json::to_string(report)
                    .map_err(|error| Failure::Local(format!("cannot write the report: {error}")))?;
                format!("{json}\n")
            }
        };
        write_out(&text);
        Ok(())
    }
}

/// Prints where it listens, and serves until it is ended.
async fn serve_noop() -> Result<Exit, Failure> {
    let local = |error: std::io::Error| Failure::Local(format!("cannot listen on 127.0.0.1: {error}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(local)?;
    write_out(&format!("{}\n", listener.local_addr().map_err(local)?));
    bench::serve_noop(listener)
        .await
        .map_err(|error| Failure::Local(format!("the no-op server failed: {error}")))?;
    Ok(Exit::DONE)
}

fn failure(error: RunError, within: Duration) -> Failure {
    match error {
        RunError::Plan(problems) => Failure::Usage(problems.join("; ")),
        RunError::Connect { server, cause } => Failure::Unreachable { server, within, cause },
    }
}

/// One line that is written over on a terminal, and one after the other elsewhere.
struct ProgressLine {
    shown: bool,
    terminal: bool,
}

impl ProgressLine {
    fn new(asked: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { shown: terminal || asked, terminal }
    }

    fn show(&mut self, progress: &Progress) {
        if self.shown {
            let (before, after) = if self.terminal { ("\r\x1b[2K", "") } else { ("", "\n") };
            // Nobody may be there to read it.
            let _ = write!(std::io::stderr(), "{before}{progress}{after}");
        }
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// `100`, `4KiB`, or `0..4KiB`, both ends included. A number without a unit is one of bytes, as the flag's name says.
fn parse_sizes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let size = |text: &str| {
        let text = text.trim();
        if let Ok(bytes) = text.parse() {
            return Ok(bytes);
        }
        let wrong = || "is not a size, or a range of sizes such as 0..4KiB".to_owned();
        parse_size(text).ok().and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(wrong)
    };
    match text.split_once("..") {
        None => size(text).map(|size| size..=size),
        Some((from, to)) => Ok(size(from)?..=size(to)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units_and_as_ranges() {
        assert_eq!(parse_sizes("100"), Ok(100..=100));
        assert_eq!(parse_sizes("4KiB"), Ok(4096..=4096));
        assert_eq!(parse_sizes("0..4096"), Ok(0..=4096));
        assert_eq!(parse_sizes("1.5KiB..1MB"), Ok(1536..=1_000_000));
        for bad in ["", "1kib", "..", "1..", "-1", "1..2..3"] {
            assert!(parse_sizes(bad).is_err(), "{bad}");
        }
    }
}
