//! Servers, a store and callers in one thread and in virtual time, with everything going wrong that a seed says; and the
//! promises, held against what callers were told and what the store came to hold. docs/adr/0017 says why it is our own.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

mod callers;
mod chronicle;
mod dice;
#[path = "../support/fixtures.rs"]
mod fixtures;
mod met;
mod network;
mod plan;
mod promises;
mod run;
mod shrinking;
mod store;
#[path = "../support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chronicle::Chronicle;
use met::Met;
use plan::Plan;
use promises::Broken;

/// Plays `plan`, and says which promise did not hold.
fn verdict(plan: &Plan) -> (Chronicle, Option<Broken>) {
    match catch_unwind(AssertUnwindSafe(|| run::run(plan))) {
        Ok(chronicle) => {
            let broken = promises::hold(plan, &chronicle).err();
            (chronicle, broken)
        }
        Err(panic) => {
            let how = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            (Chronicle::default(), Some(Broken { promise: "nothing panics", how }))
        }
    }
}

/// The shortest history that breaks the same promise, in words.
fn explain(seed: u64, plan: &Plan, broken: &Broken) -> String {
    let still_breaks = |shorter: &Plan| verdict(shorter).1.is_some_and(|now| now.promise == broken.promise);
    let shortest = shrinking::shrink(plan, &still_breaks);
    let (chronicle, now) = verdict(&shortest);
    let how = now.map_or_else(|| broken.how.clone(), |now| now.how);
    format!(
        "seed {seed} breaks a promise: {}\n  {how}\n\nThe shortest history found that breaks it:\n{}\n\
         Again: make simulate FIRST={seed} SEEDS=1",
        broken.promise,
        chronicle.tell(&shortest)
    )
}

#[test]
fn every_history_keeps_the_promises() {
    let (first, seeds) = (support::size("SEMEL_FIRST_SEED", 0), support::size("SEMEL_SEEDS", 300));
    let mut met = Met::default();
    for seed in first..first + seeds {
        let plan = Plan::new(seed);
        let (chronicle, broken) = verdict(&plan);
        if let Some(broken) = broken {
            panic!("{}", explain(seed, &plan, &broken));
        }
        met.learn(&chronicle);
    }
    for (name, times) in met.0 {
        support::count(name, times);
    }
}

#[test]
fn one_seed_gives_one_history() {
    let tell = |seed| {
        let plan = Plan::new(seed);
        run::run(&plan).tell(&plan)
    };
    for seed in 0..24 {
        let first = tell(seed);
        assert_eq!(first, tell(seed), "seed {seed}");
        assert_ne!(first, tell(seed + 1_000), "another seed gives another history");
    }
}

/// What a person is shown of a failure is short: here the promise is that nobody ever takes a key over.
#[test]
fn a_plan_shrinks_to_what_breaks_the_promise() {
    let takes_over = |plan: &Plan| {
        let mut met = Met::default();
        met.learn(&run::run(plan));
        met.0.get("simulation_takeovers").is_some_and(|times| *times > 0)
    };
    let seed = (0..1000).find(|seed| takes_over(&Plan::new(*seed))).expect("some history has a takeover");
    let plan = Plan::new(seed);
    let shortest = shrinking::shrink(&plan, &takes_over);
    assert!(takes_over(&shortest));
    assert!(shortest.items.len() <= 3, "of {} items are left: {:?}", plan.items.len(), shortest.items);
    assert!(shrinking::size(&shortest) < shrinking::size(&plan));
}
