//! Settles every record that a filter matches: lists them, and settles each by the fence that was listed.
//!
//! So it may be stopped at any time and run again: what was settled is not listed any more, and what changed since it was
//! listed is left alone.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::time::SystemTime;

use clap::Args;
use futures_util::future::join_all;
use semel_client::proto::{ListRecordsRequest, Record, State};

use super::Decision;
use super::filter::{Facts, Filter, Waiting};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Value, json_object, printable, write_out};
use crate::cli::record_view::{record_fields, unresolved_reason};

/// Flags for many records.
#[derive(Debug, Args)]
pub(super) struct ManyArgs {
    /// Settle all records that match, such as 'endpoint=payments.* age>1h label.order=42'; given again, all must hold
    #[arg(id = "filter", long = "where", value_name = "FILTER")]
    filters: Vec<String>,
    /// With --where: say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With --where: stop after that many matching records
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// With --where: how many records are settled at a time
    #[arg(long, value_name = "NUMBER", default_value = "8")]
    parallel: NonZeroUsize,
}

impl ManyArgs {
    /// The filter, where one was given.
    pub(super) fn filter(&self) -> Result<Option<Filter>, Failure> {
        if !self.filters.is_empty() {
            let filter = Filter::parse(self.filters.iter().map(String::as_str));
            return filter.map(Some).map_err(Failure::Usage);
        }
        // Nobody who writes --dry-run is to find that something was done.
        if self.dry_run || self.limit.is_some() {
            return Err(Failure::Usage("--dry-run and --limit go with --where".to_owned()));
        }
        Ok(None)
    }
}

/// One run.
#[derive(Debug)]
pub(super) struct Many<'a> {
    pub(super) client: Client,
    pub(super) tenants: Vec<String>,
    pub(super) filter: Filter,
    pub(super) decision: Decision,
    pub(super) flags: &'a ManyArgs,
    pub(super) output: Output,
}

/// What became of the records so far.
#[derive(Debug, Default)]
struct Tally {
    matched: usize,
    /// Settled, or with --dry-run to be settled.
    settled: usize,
    /// Left alone, because they changed since they were listed.
    skipped: usize,
}

impl Many<'_> {
    /// Settles them all, and says of each what was done. At the first failure the others are left, and the same command
    /// goes on with them.
    pub(super) async fn settle(&self) -> Result<(), Failure> {
        if self.output == Output::Env {
            let problem = "--output env holds one record; with --where write --output json";
            return Err(Failure::Usage(problem.to_owned()));
        }
        let mut tally = Tally::default();
        let mut done = Ok(());
        for tenant in &self.tenants {
            done = self.settle_tenant(tenant, &mut tally).await;
            if done.is_err() {
                break;
            }
        }
        self.say_tally(&tally);
        done
    }

    async fn settle_tenant(&self, tenant: &str, tally: &mut Tally) -> Result<(), Failure> {
        let state = match self.filter.state {
            Waiting::Unresolved => State::Unresolved,
            Waiting::LeaseLost => State::LeaseLost,
        };
        let mut request = ListRecordsRequest {
            tenant: tenant.to_owned(),
            endpoint: self.filter.endpoint().unwrap_or_default().to_owned(),
            state: state.into(),
            page_size: 0,
            page_token: String::new(),
        };
        loop {
            let page = self.client.call(async |semel| semel.list_records(request.clone()).await).await?;
            let left = self.flags.limit.map_or(usize::MAX, |limit| limit - tally.matched);
            let matching: Vec<Record> =
                page.records.into_iter().filter(|record| self.admits(record)).take(left).collect();
            for records in matching.chunks(self.flags.parallel.get()) {
                self.settle_at_once(records, tally).await?;
            }
            if page.next_page_token.is_empty() || self.flags.limit == Some(tally.matched) {
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }

    fn admits(&self, record: &Record) -> bool {
        let Some(key) = &record.key else { return false };
        let unresolved = record.unresolved.as_ref();
        let reason = match unresolved.map(unresolved_reason) {
            Some(Value::Text(reason)) => reason,
            _ => String::new(),
        };
        let since = unresolved.map_or(record.lease_expires_at, |unresolved| unresolved.since);
        self.filter.admits(&Facts {
            endpoint: &key.endpoint,
            key: &key.idempotency_key,
            detail: unresolved.map_or("", |unresolved| &unresolved.detail),
            reason: &reason,
            labels: &record.labels,
            since: since.and_then(|since| SystemTime::try_from(since).ok()),
        })
    }

    /// Settles a few records, waits for all of them, and only then prints: whoever reads slowly holds up no call.
    async fn settle_at_once(&self, records: &[Record], tally: &mut Tally) -> Result<(), Failure> {
        let settled = join_all(records.iter().map(|record| self.settle_one(record))).await;
        let mut failed = Ok(());
        let mut lines = String::new();
        if tally.matched == 0 {
            lines.push_str(self.heading());
        }
        for (record, settled) in records.iter().zip(settled) {
            tally.matched += 1;
            let (action, why, shown) = match settled {
                Ok(None) => {
                    tally.settled += 1;
                    (
                        if self.decision.is_release() { "would_release" } else { "would_complete" },
                        None,
                        record.clone(),
                    )
                }
                Ok(Some(after)) => {
                    tally.settled += 1;
                    (if self.decision.is_release() { "released" } else { "completed" }, None, after)
                }
                Err(failure) => {
                    let why = failure.reason().to_owned();
                    let action = if is_skipped(&failure) {
                        tally.skipped += 1;
                        "skipped"
                    } else {
                        failed = Err(failure);
                        "failed"
                    };
                    (action, Some(why), record.clone())
                }
            };
            lines.push_str(&self.line(action, why, shown));
        }
        write_out(&lines);
        failed
    }

    async fn settle_one(&self, record: &Record) -> Result<Option<Record>, Failure> {
        let Some(key) = record.key.clone().filter(|_| !self.flags.dry_run) else { return Ok(None) };
        self.decision.apply(&self.client, key, record.fence).await.map(Some)
    }

    fn heading(&self) -> &'static str {
        match self.output {
            Output::Human => "WHAT            FENCE              ATTEMPT  TENANT, ENDPOINT, KEY\n",
            Output::Json | Output::Env => "",
        }
    }

    fn line(&self, action: &'static str, why: Option<String>, record: Record) -> String {
        if self.output == Output::Human {
            let key = record.key.unwrap_or_default();
            return format!(
                "{action:<14}  {:<17}  {:<7}  {}  {}  {}{}\n",
                record.fence,
                record.attempt,
                printable(&key.tenant),
                printable(&key.endpoint),
                printable(&key.idempotency_key),
                why.map(|why| format!("  {why}")).unwrap_or_default(),
            );
        }
        let mut fields =
            vec![("action", Value::text(action)), ("error", why.map_or(Value::Absent, Value::text))];
        fields.extend(record_fields(record));
        format!("{}\n", json_object(&fields))
    }

    fn say_tally(&self, tally: &Tally) {
        let Tally { matched, settled, skipped } = *tally;
        let failed = matched - settled - skipped;
        if self.output == Output::Json {
            let summary = serde_json::json!({
                "matched": matched, "settled": settled, "skipped": skipped, "failed": failed, "dry_run": self.flags.dry_run,
            });
            return write_out(&format!("{}\n", serde_json::json!({ "summary": summary })));
        }
        let done = match (self.flags.dry_run, self.decision.is_release()) {
            (true, true) => "would be released; nothing was changed",
            (true, false) => "would be completed; nothing was changed",
            (false, true) => "released",
            (false, false) => "completed",
        };
        let mut line = format!("{matched} records match: {settled} {done}");
        if skipped > 0 {
            _ = write!(line, ", {skipped} skipped, since they changed meanwhile");
        }
        if failed > 0 {
            _ = write!(
                line,
                ", {failed} failed; run the same command again, and it goes on with what is left"
            );
        }
        write_out(&format!("{line}\n"));
    }
}

/// Whether the record was settled, taken over or forgotten since it was listed: nothing is wrong with that.
fn is_skipped(failure: &Failure) -> bool {
    ["FENCE_LOST", "STATE_CONFLICT", "KEY_NOT_FOUND"].contains(&failure.reason())
}
