//! A load generator that checks what it measures: `semel bench`.
//!
//! It plays callers who begin keys, some of them keys that others have begun or finished, and owners who finish
//! them. Everything the server says is held against what the contract lets a caller rely on, by the caller's own
//! clock; see [`Violation`] for what is found.

mod checker;
mod comparison;
mod dice;
mod meter;
mod noop;
mod pace;
mod phases;
mod plan;
mod pool;
mod report;
mod run;
mod servers;
mod workload;

pub use checker::{Violation, ViolationKind};
pub use comparison::{Comparison, ComparisonPlan, Round, compare, median};
pub use meter::{Answers, Latency, Operation};
pub use noop::{NoopProcess, serve_noop};
pub use phases::{Begun, Phases};
pub use plan::{Amount, Plan};
pub use report::{Duplicates, OpenLoop, Progress, Report};
pub use run::{RunError, run};
pub use servers::Servers;
