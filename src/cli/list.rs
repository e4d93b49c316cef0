//! `semel list`

use clap::{Args, ValueEnum};
use semel_client::proto::{ListRecordsRequest, Record, State};

use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::in_runtime;
use super::output::{Output, json_object, print, printable, write_out};
use super::record_view::{record_fields, state_name};

/// For operators: page through a tenant's records
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this endpoint's
    #[arg(long, default_value = "")]
    endpoint: String,
    /// Only records that read so
    #[arg(long, value_enum)]
    state: Option<StateFilter>,
    /// How many at most in a page; the server has a bound of its own
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    page_size: i32,
    /// Where the page before ended
    #[arg(long, value_name = "TOKEN", default_value = "")]
    page_token: String,
    /// All pages, not only one
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: Target,
    /// For whom to print; json prints one object a line
    #[arg(long, value_enum, default_value_t)]
    output: ListOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StateFilter {
    InProgress,
    Completed,
    Released,
    Unresolved,
    LeaseLost,
}

/// For whom a list is printed: a shell has no use for many records in its variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ListOutput {
    /// For people; may change with any release
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

impl List {
    pub(crate) fn run(&self) -> Exit {
        match in_runtime(self.print_pages()) {
            Ok(()) => Exit::DONE,
            Err(failure) => {
                let output = if self.output == ListOutput::Json { Output::Json } else { Output::Human };
                print(&Err(failure), output, &[])
            }
        }
    }

    async fn print_pages(&self) -> Result<(), Failure> {
        let client = Client::new(&self.target.connection)?;
        let state = match self.state {
            None => State::Unspecified,
            Some(StateFilter::InProgress) => State::InProgress,
            Some(StateFilter::Completed) => State::Completed,
            Some(StateFilter::Released) => State::Released,
            Some(StateFilter::Unresolved) => State::Unresolved,
            Some(StateFilter::LeaseLost) => State::LeaseLost,
        };
        let mut request = ListRecordsRequest {
            tenant: self.target.tenant.clone(),
            endpoint: self.endpoint.clone(),
            state: state.into(),
            page_size: self.page_size,
            page_token: self.page_token.clone(),
        };
        let mut listed = 0_usize;
        loop {
            let page = client.call(async |semel| semel.list_records(request.clone()).await).await?;
            if listed == 0 && self.output == ListOutput::Human && !page.records.is_empty() {
                write_out(&format!(
                    "{:<12} {:>17} {:>7}  {:<32} KEY\n",
                    "STATE", "FENCE", "ATTEMPT", "ENDPOINT"
                ));
            }
            listed += page.records.len();
            let lines: String = page.records.into_iter().map(|record| self.line(record)).collect();
            write_out(&lines);
            if page.next_page_token.is_empty() {
                if self.output == ListOutput::Human {
                    write_out(&format!("{listed} records\n"));
                }
                return Ok(());
            }
            if !self.all {
                self.say_there_is_more(&page.next_page_token);
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }

    fn line(&self, record: Record) -> String {
        if self.output == ListOutput::Json {
            return format!("{}\n", json_object(&record_fields(record)));
        }
        let key = record.key.clone().unwrap_or_default();
        format!(
            "{:<12} {:>17} {:>7}  {:<32} {}\n",
            state_name(record.state()),
            record.fence,
            record.attempt,
            printable(&key.endpoint),
            printable(&key.idempotency_key),
        )
    }

    fn say_there_is_more(&self, token: &str) {
        match self.output {
            ListOutput::Human => write_out(&format!("there are more: --page-token {token}, or --all\n")),
            ListOutput::Json => {
                write_out(&format!("{}\n", serde_json::json!({ "next_page_token": token })));
            }
        }
    }
}
