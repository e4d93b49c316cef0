//! A real `semel serve` on the embedded store, killed, stopped, paused, and cut off, with policies that change.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::rngs::StdRng;
use semel::domain::{OnLostLease, Policy};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::check::callers::Scene;
use crate::check::cuts::Cuts;
use crate::check::history::{Timeline, World, wall};
use crate::check::met::Met;
use crate::program::Program;
use crate::{callers, judge, manners};

/// How far clocks may differ here: there is one, and leases are short.
pub(crate) const ALLOWANCE: Duration = Duration::from_millis(30);
const IN_FORCE: &str = "the policy file has changed and is in force";

/// A policy of these histories, as text and as it is understood.
pub(crate) fn policy(random: &mut StdRng) -> (String, Policy) {
    let max_attempts = random.random_range(0..2) * 3;
    let (word, on_lost_lease) = if random.random_range(0..4) == 0 {
        ("mark_unknown", OnLostLease::MarkUnknown)
    } else {
        ("rerun", OnLostLease::Rerun)
    };
    // Its number makes each text another.
    let number: u32 = random.random();
    let text = format!("# {number}\n[defaults]\nmax_attempts = {max_attempts}\non_lost_lease = \"{word}\"\n");
    let policy = Policy { max_attempts, on_lost_lease, clock_skew_allowance: ALLOWANCE, ..Policy::default() };
    (text, policy)
}

fn start(directory: &Path) -> Program {
    let policy = directory.join("policy.toml").display().to_string();
    let allowance = format!("{}ms", ALLOWANCE.as_millis());
    Program::start(directory, &["--policy", &policy, "--clock-skew-allowance", &allowance])
}

fn address(server: &Program) -> &str {
    server.url.trim_start_matches("http://")
}

pub(crate) fn history(runtime: &Runtime, seed: u64, random: &mut StdRng) -> Met {
    let directory = TempDir::new().unwrap();
    let (text, first) = policy(random);
    std::fs::write(directory.path().join("policy.toml"), text).unwrap();
    let mut server = start(directory.path());
    let cuts = runtime.block_on(Cuts::before(address(&server)));
    let scene = Scene::new(manners(), vec![format!("http://{}", cuts.address)]);
    let mut policies = Timeline::new(Arc::new(first));
    let callers = callers(runtime, &scene, seed);
    let mut met = Met::default();
    let pause = |random: &mut StdRng, most: u64| {
        std::thread::sleep(Duration::from_millis(random.random_range(most / 4..most)));
    };
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
                let (text, next) = policy(random);
                let seen = server.log.text().matches(IN_FORCE).count();
                let from = wall();
                // Replaced in one step: the server also looks by itself.
                let (new, old) = (directory.path().join("new.toml"), directory.path().join("policy.toml"));
                std::fs::write(&new, text).unwrap();
                std::fs::rename(new, old).unwrap();
                server.signal(Signal::SIGHUP);
                server.log.wait_for(IN_FORCE, seen + 1);
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
    scene.over.store(true, Ordering::Relaxed);
    let world = World { policies, clocks: vec![Timeline::new(0)], caches: false };
    met.join(&judge(runtime, seed, (callers, &scene), &world));
    met
}
