//! A real `semel serve` on the embedded store, killed, stopped, paused, and cut off, with policies that change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::check::callers::Scene;
use crate::check::course::Course;
use crate::check::cuts::Cuts;
use crate::check::history::{Timeline, World, wall};
use crate::check::met::Met;
use crate::check::policies::{drawn, put_in_force};
use crate::program::Program;
use crate::{CALLERS, manners, pause};

/// How far clocks may differ here: there is one, and leases are short.
pub(crate) const ALLOWANCE: Duration = Duration::from_millis(30);

fn start(directory: &Path) -> Program {
    let policy = directory.join("policy.toml").display().to_string();
    let allowance = format!("{}ms", ALLOWANCE.as_millis());
    Program::start(directory, &["--policy", &policy, "--clock-skew-allowance", &allowance])
}

fn address(server: &Program) -> &str {
    server.url.trim_start_matches("http://")
}

pub(crate) fn history(runtime: &Runtime, seed: u64, random: &mut StdRng) -> Result<Met, String> {
    let directory = TempDir::new().unwrap();
    let (text, first) = drawn(random, ALLOWANCE);
    let policy = directory.path().join("policy.toml");
    std::fs::write(&policy, text).unwrap();
    let mut server = start(directory.path());
    let cuts = runtime.block_on(Cuts::before(address(&server)));
    let scene = Scene::new(manners(), vec![format!("http://{}", cuts.address)]);
    let mut policies = Timeline::new(Arc::new(first));
    let course = Course::begin(runtime, &scene, seed, CALLERS);
    let mut met = Met::default();
    for _ in 0..random.random_range(3..6) {
        pause(random, 400);
        match random.random_range(0..10) {
            0..3 => {
                server.signal(Signal::SIGKILL);
                server.wait();
                server = start(directory.path());
                cuts.lead_to(address(&server));
                met.add("kills", 1);
            }
            3 => {
                server.signal(Signal::SIGTERM);
                server.wait();
                server = start(directory.path());
                cuts.lead_to(address(&server));
                met.add("stops", 1);
            }
            4..6 => {
                server.signal(Signal::SIGSTOP);
                pause(random, 300);
                server.signal(Signal::SIGCONT);
                met.add("pauses", 1);
            }
            6..8 => {
                let (text, next) = drawn(random, ALLOWANCE);
                let from = wall();
                put_in_force(&server, &policy, &text);
                policies.change(from, wall(), Arc::new(next));
                met.add("policy_reloads", 1);
            }
            _ => {
                cuts.set_mute(true);
                pause(random, 80);
                cuts.cut();
                cuts.set_mute(false);
                met.add("lost_answers", 1);
            }
        }
    }
    pause(random, 400);
    let world = World { policies, clocks: vec![Timeline::new(0)], is_shared: false };
    met.join(&course.end(runtime, &world)?);
    Ok(met)
}
