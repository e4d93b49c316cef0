//! What a phase takes: its time, and the processor time of each process that has a part in it.

use std::process::Command;
use std::time::Instant;

/// Of `/proc/PID/stat`, on every Linux: its `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Gives the node so many cores of the machine, and the others to `callers`. With 0, or where none would be left, all share
/// all.
pub(crate) fn part(node: u32, callers: impl Iterator<Item = u32>, cores: u64) {
    let all = std::thread::available_parallelism().unwrap().get() as u64;
    if cores == 0 || cores >= all {
        println!("the node shares the machine's {all} cores with whoever calls it");
        return;
    }
    let keep_to = |process: u32, cores: &str| {
        let output = Command::new("taskset").args(["-a", "-c", "-p", cores, &process.to_string()]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr));
    };
    keep_to(node, &format!("0-{}", cores - 1));
    callers.for_each(|process| keep_to(process, &format!("{cores}-{}", all - 1)));
    println!("the node has {cores} of the machine's {all} cores, and whoever calls it the others");
}

/// What a call of a phase took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) per_second: f64,
    /// Microseconds of processor time of the node.
    pub(crate) node: f64,
    /// The same, of the server; 0 where none has a part.
    pub(crate) server: f64,
    /// The same, of this process: the driver, or who calls the server.
    pub(crate) caller: f64,
}

/// The processes that have a part in a phase, beside this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    node: u32,
    server: Option<u32>,
}

impl Processors {
    pub(crate) const fn new(node: u32, server: Option<u32>) -> Self {
        Self { node, server }
    }

    /// Does `phase`, which makes so many calls.
    #[allow(clippy::cast_precision_loss, reason = "a phase makes fewer than 2^53 calls")]
    pub(crate) async fn measured<A>(self, calls: u64, phase: impl Future<Output = A>) -> (Cost, A) {
        let (before, start) = (self.seconds(), Instant::now());
        let done = phase.await;
        let (after, elapsed) = (self.seconds(), start.elapsed());
        let calls = calls as f64;
        let each = |process: usize| (after[process] - before[process]) * 1e6 / calls;
        let cost = Cost {
            per_second: calls / elapsed.as_secs_f64(),
            node: each(0),
            server: each(1),
            caller: each(2),
        };
        (cost, done)
    }

    fn seconds(self) -> [f64; 3] {
        [seconds_of(self.node), self.server.map_or(0.0, seconds_of), seconds_of(std::process::id())]
    }
}

/// The processor time that a process has had.
fn seconds_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name, which may have spaces: the state is the third field, utime the 14th, stime the 15th.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = |field: usize| -> f64 { fields.split_whitespace().nth(field - 3).unwrap().parse().unwrap() };
    (ticks(14) + ticks(15)) / TICKS_PER_SECOND
}
