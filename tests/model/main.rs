//! The protocol as a model that is searched to the end: whatever callers, network, servers, clocks and store do within
//! its bounds, DESIGN's promises hold. docs/adr/0018 says what is modelled, and how it is tied to the code.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

mod callers;
#[path = "../support/fixtures.rs"]
mod fixtures;
mod met;
mod planted;
mod promises;
mod protocol;
mod replayed;
mod rules;
mod sizes;
mod state;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use met::Met;
use planted::PLANTED;
use promises::PROMISES;
use protocol::Action;
use rand::SeedableRng;
use rand::rngs::StdRng;
use replayed::Compared;
use state::{Promise, Size, State, Trouble};
use stateright::{Checker, Model, Property};

/// A model of some size, as the checker wants it.
#[derive(Debug)]
struct Semel {
    size: Size,
    met: Arc<Met>,
}

impl Model for Semel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.size)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        protocol::actions(&self.size, state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(protocol::step(&self.size, state, action, &self.met).0)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn keeps<const N: usize>(_: &Semel, state: &State) -> bool {
            state.broken != Some(PROMISES[N].1)
        }
        vec![
            Property::always(PROMISES[0].0, keeps::<0>),
            Property::always(PROMISES[1].0, keeps::<1>),
            Property::always(PROMISES[2].0, keeps::<2>),
            Property::always(PROMISES[3].0, keeps::<3>),
            Property::always(PROMISES[4].0, keeps::<4>),
            Property::always(PROMISES[5].0, keeps::<5>),
            Property::always(PROMISES[6].0, keeps::<6>),
            Property::always(PROMISES[7].0, keeps::<7>),
            Property::always(PROMISES[8].0, keeps::<8>),
            Property::always(PROMISES[9].0, keeps::<9>),
            Property::always(PROMISES[10].0, keeps::<10>),
            Property::always(PROMISES[11].0, keeps::<11>),
        ]
    }
}

/// The size in the form that was asked for.
fn scaled(size: &Size) -> Size {
    let more = u8::try_from(support::size("SEMEL_MODEL_TICKS", 0)).unwrap();
    Size { ticks: size.ticks + more * size.stride, ..size.clone() }
}

/// What a search found: unique states, how deep they are, and the steps to each broken promise.
struct Found {
    states: u64,
    depth: u64,
    broken: Vec<(&'static str, Vec<Action>)>,
}

fn search(size: &Size, met: &Arc<Met>, until: Option<Promise>) -> Found {
    let model = Semel { size: size.clone(), met: met.clone() };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let builder = model.checker().threads(threads);
    let wanted = until.map(|until| PROMISES.iter().find(|(_, promise)| *promise == until).unwrap().0);
    let builder = match wanted {
        Some(wanted) => builder.finish_when(stateright::HasDiscoveries::AnyOf([wanted].into())),
        None => builder,
    };
    let checker = builder.spawn_bfs().join();
    Found {
        states: checker.unique_state_count() as u64,
        depth: checker.max_depth() as u64,
        broken: checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions())).collect(),
    }
}

#[test]
fn every_promise_holds_in_every_state() {
    let met = Arc::new(Met::default());
    let (mut states, mut depth) = (0, 0);
    for size in &sizes::ALL {
        let began = std::time::Instant::now();
        let found = search(&scaled(size), &met, None);
        println!("{}: {} states, depth {}, {:?}", size.name, found.states, found.depth, began.elapsed());
        assert!(found.broken.is_empty(), "{}: {:#?}", size.name, found.broken);
        states += found.states;
        depth = found.depth.max(depth);
    }
    support::count("model_states", states);
    support::count("model_depth", depth);
    for (name, times) in met.all() {
        support::count(name, times);
    }
}

#[test]
fn every_planted_fault_is_found() {
    let mut found = 0;
    let mut missed = Vec::new();
    for (fault, size, promise) in PLANTED {
        let size = Size { fault: Some(*fault), ..size.clone() };
        let search = search(&size, &Arc::default(), Some(*promise));
        let wanted = PROMISES.iter().find(|(_, its)| its == promise).unwrap().0;
        println!("{fault:?} in {}: {} states", size.name, search.states);
        match search.broken.iter().find(|(name, _)| *name == wanted) {
            Some((_, steps)) => println!("  breaks «{wanted}» in {} steps: {steps:?}", steps.len()),
            None => missed.push(format!("{fault:?} in {}: {:?}", size.name, search.broken)),
        }
        found += 1;
    }
    assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
    support::count("model_planted_faults", found);
}

#[test]
fn walks_through_the_model_are_walks_of_the_code() {
    let mut compared = Compared::default();
    for (number, size) in (0..).zip(&sizes::ALL) {
        // More may go wrong on a walk than in a search that has to come to its end.
        let size = Size {
            mishaps: 6,
            trouble: Trouble::Anywhere,
            ticks: 12,
            attempts: 3,
            operations: 2,
            ..size.clone()
        };
        let mut dice = StdRng::seed_from_u64(number);
        for _ in 0..support::size("SEMEL_MODEL_WALKS", 300) {
            if let Err(differs) = replayed::walk(&size, &mut dice, &mut compared) {
                panic!("{}: {differs}", size.name);
            }
        }
    }
    support::count("model_replayed_decisions", compared.decisions);
    support::count("model_replayed_changes", compared.changes);
}

/// The comparison with the code can fail: it tells each fault that is planted in the rules.
#[test]
fn the_code_differs_from_faulty_rules() {
    for (fault, size, _) in PLANTED.iter().filter(|(fault, ..)| fault.is_of_the_rules()) {
        let size = Size {
            fault: Some(*fault),
            mishaps: 6,
            trouble: Trouble::Anywhere,
            ticks: 12,
            attempts: 3,
            operations: 2,
            ..size.clone()
        };
        let mut dice = StdRng::seed_from_u64(0);
        let differs = |_| replayed::walk(&size, &mut dice, &mut Compared::default()).is_err();
        assert!((0..5000).any(differs), "{fault:?} is not told from the code");
    }
}
