//! Makes a plan shorter while it breaks the same promise.

use crate::plan::{Plan, Send, Weather, What};

/// The shortest plan that this finds for which `still_breaks` holds, as it does for `plan`.
pub(crate) fn shrink(plan: &Plan, still_breaks: &dyn Fn(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    loop {
        let before = size(&best);
        leave_out_items(&mut best, still_breaks);
        leave_out_moves(&mut best, still_breaks);
        calm_down(&mut best, still_breaks);
        if size(&best) == before {
            return best;
        }
    }
}

/// How much happens in a plan.
pub(crate) fn size(plan: &Plan) -> usize {
    let of = |item: &crate::plan::Item| match &item.what {
        What::Operation(operation) => {
            let moves = operation.moves.iter().map(|step| 1 + step.sends.len()).sum::<usize>();
            1 + operation.sends.len() + moves
        }
        What::Operator(operator) => 1 + operator.sends.len(),
        _ => 1,
    };
    plan.items.iter().map(of).sum::<usize>() + usize::from(plan.weather != Weather::default())
}

fn try_it(best: &mut Plan, still_breaks: &dyn Fn(&Plan) -> bool, change: impl FnOnce(&mut Plan)) -> bool {
    let mut shorter = best.clone();
    change(&mut shorter);
    let breaks = still_breaks(&shorter);
    if breaks {
        *best = shorter;
    }
    breaks
}

fn leave_out_items(best: &mut Plan, still_breaks: &dyn Fn(&Plan) -> bool) {
    let mut at_once = best.items.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < best.items.len() {
            let to = (from + at_once).min(best.items.len());
            if !try_it(best, still_breaks, |plan| drop(plan.items.drain(from..to))) {
                from = to;
            }
        }
        if at_once == 1 {
            return;
        }
        at_once /= 2;
    }
}

fn leave_out_moves(best: &mut Plan, still_breaks: &dyn Fn(&Plan) -> bool) {
    for item in 0..best.items.len() {
        let mut step = 0;
        while let What::Operation(operation) = &best.items[item].what {
            if step == operation.moves.len() {
                break;
            }
            let shorter = try_it(best, still_breaks, |plan| {
                if let What::Operation(operation) = &mut plan.items[item].what {
                    operation.moves.remove(step);
                }
            });
            step += usize::from(!shorter);
        }
    }
}

/// Takes tries and mishaps away, call by call, and the store's bad weather.
fn calm_down(best: &mut Plan, still_breaks: &dyn Fn(&Plan) -> bool) {
    if best.weather != Weather::default() {
        try_it(best, still_breaks, |plan| plan.weather = Weather::default());
    }
    for call in 0.. {
        let Some(tries) = sends(&mut best.clone()).get(call).map(|sends| sends.len()) else { return };
        let one = |plan: &mut Plan| {
            let sends = sends(plan).swap_remove(call);
            sends.truncate(1);
            sends[0] = Send::plain(sends[0].server);
        };
        if !try_it(best, still_breaks, one) && tries > 1 {
            try_it(best, still_breaks, |plan| sends(plan)[call].truncate(1));
        }
    }
}

/// The tries of every call of a plan.
fn sends(plan: &mut Plan) -> Vec<&mut Vec<Send>> {
    let mut all = Vec::new();
    for item in &mut plan.items {
        match &mut item.what {
            What::Operation(operation) => {
                all.push(&mut operation.sends);
                all.extend(operation.moves.iter_mut().map(|step| &mut step.sends));
            }
            What::Operator(operator) => all.push(&mut operator.sends),
            _ => {}
        }
    }
    all
}
