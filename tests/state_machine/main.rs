//! DESIGN's tables, cell by cell: what every command answers and stores in every state.
//!
//! `state_machine.txt` is the table, for people to read. Every state meets every command there; a state or a
//! command without its rows fails. `SEMEL_WRITE_TABLE=1 cargo test --test state_machine` writes the table anew
//! from the code and fails: read the difference, line by line, before it is committed.

mod commands;
mod kinds;
mod states;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use commands::{DISPOSITIONS, RESOLUTIONS, Row, SINGLE_FORMS, commands};
use semel::domain::{Record, Restored};
use states::{NOW, RECORD_KINDS, ago, ahead, record_kind, states};
use words::Scene;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/state_machine.txt");

const LEGEND: &str = "\
What every command answers and stores in every state.

First the states: the whole record of the first that has one, then how each of the others differs from that one.

Then the commands. Below each outcome stand the states that it has it in. An outcome is the answer and, where something is
stored, what is stored: all of it where nothing was readable before, else what changes, and until when the row is kept. A
form of a command is shown only in those states where it does not come to what the command before «but for» comes to.

Times are from now, by the deciding server's clock. «by a»: attempt id, labels and trace are those of caller a, who made
the attempt that is stored; b has made none yet. «fence + 1»: one above the known one; «fence of now»: the clock in
microseconds. Where nothing else is said a caller sends the record's own fence, and «request» as fingerprint.

The policy, where nothing else is said: lease 30, at most 100; retention 1000, at most 5000; unresolved_retention 9000;
max_retry_after 60; 3 attempts; skew allowance 1; on_lost_lease rerun.
";

/// The table as the code has it.
fn actual() -> String {
    let states = states();
    let mut table = format!("{LEGEND}\n== States\n");
    let mut usual = None;
    for (name, record) in &states {
        let said =
            record.as_ref().map_or_else(|| "no record".to_owned(), |record| words::record(record, usual));
        let _ = writeln!(table, "{name} | {said}");
        if let (None, Some(Record::Kept(first))) = (usual, record) {
            usual = Some(first);
        }
    }
    for forms in commands() {
        let mut first: Option<(&str, Vec<String>)> = None;
        for command in forms {
            let outcomes: Vec<_> =
                states.iter().map(|(_, before)| outcome(&command, before.as_ref())).collect();
            let _ = writeln!(table, "\n== {}", command.name);
            if let Some((name, usual)) = &first {
                let _ = writeln!(table, "as {name}, but for:");
                by_outcome(
                    &mut table,
                    states.iter().zip(&outcomes).zip(usual).filter_map(|(((state, _), outcome), usual)| {
                        (outcome != usual).then_some((*state, outcome.as_str()))
                    }),
                );
            } else {
                by_outcome(
                    &mut table,
                    states.iter().zip(&outcomes).map(|((state, _), outcome)| (*state, outcome.as_str())),
                );
                first = Some((command.name, outcomes));
            }
        }
    }
    let mark = Restored { at: NOW, backup_at: ago(200), until: ahead(1000) };
    let _ = writeln!(table, "\n== A restore, from a backup of -200s, its mark until +1000s");
    let restored: Vec<_> = states.iter().map(|(_, before)| restored(before.as_ref(), mark)).collect();
    by_outcome(
        &mut table,
        states.iter().zip(&restored).map(|((state, _), outcome)| (*state, outcome.as_str())),
    );
    table
}

/// What a record of the backup is in the restored store.
fn restored(before: Option<&Record>, mark: Restored) -> String {
    let next = before.map(|record| mark.record(record.clone())).filter(|next| Some(next) != before);
    let stored = words::stored(Scene { before, next: next.as_ref() });
    stored.map_or_else(|| "as it was".to_owned(), |stored| format!("stored: {stored}"))
}

fn outcome(command: &Row, before: Option<&Record>) -> String {
    let (answer, next) = (command.decide)(before);
    let stored = words::stored(Scene { before, next: next.as_ref() });
    stored.map_or(answer.clone(), |stored| format!("{answer}\n  stored: {stored}"))
}

/// Writes each outcome and below it its states, both in the order of the states.
fn by_outcome<'a>(table: &mut String, states: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut outcomes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (state, outcome) in states {
        match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, same)) => same.push(state),
            None => outcomes.push((outcome, vec![state])),
        }
    }
    if outcomes.is_empty() {
        let _ = writeln!(table, "    nothing");
    }
    for (outcome, states) in outcomes {
        let _ = writeln!(table, "{outcome}");
        list(table, &states);
    }
}

/// Writes names as lines that are not too long.
fn list(table: &mut String, names: &[&str]) {
    const WIDTH: usize = 116;
    let mut line = String::new();
    for name in names {
        if !line.is_empty() && line.chars().count() + name.chars().count() > WIDTH {
            let _ = writeln!(table, "    {} /", std::mem::take(&mut line));
        }
        let _ = write!(line, "{}{name}", if line.is_empty() { "" } else { " / " });
    }
    let _ = writeln!(table, "    {line}");
}

/// The lines of each section that only the table has, and those that only the code has.
fn differences(table: &str, code: &str) -> String {
    fn sections(text: &str) -> BTreeMap<&str, Vec<&str>> {
        let split = |section| str::split_once(section, '\n').unwrap_or((section, ""));
        text.split("\n== ").map(split).map(|(heading, lines)| (heading, lines.lines().collect())).collect()
    }
    let (table, code) = (sections(table), sections(code));
    let mut text = String::new();
    for heading in table.keys().chain(code.keys()).collect::<BTreeSet<_>>() {
        let (table, code) = (table.get(heading), code.get(heading));
        let (table, code) = (table.cloned().unwrap_or_default(), code.cloned().unwrap_or_default());
        if table != code {
            let _ = writeln!(text, "== {heading}");
            for line in table.iter().filter(|line| !code.contains(line)) {
                let _ = writeln!(text, "table {line}");
            }
            for line in code.iter().filter(|line| !table.contains(line)) {
                let _ = writeln!(text, "code  {line}");
            }
        }
    }
    text
}

#[test]
fn every_command_in_every_state_does_what_the_table_says() {
    let code = actual();
    if std::env::var_os("SEMEL_WRITE_TABLE").is_some() {
        std::fs::write(TABLE, code).unwrap();
        panic!("{TABLE} is written anew: read what differs, then test it without SEMEL_WRITE_TABLE");
    }
    let table = std::fs::read_to_string(TABLE).unwrap();
    assert!(table == code, "the code does not do what {TABLE} says\n{}", differences(&table, &code));
}

#[test]
fn names_stand_for_one_thing_each() {
    let mut names: Vec<_> = states().iter().map(|(name, _)| *name).collect();
    names.extend(commands().iter().flatten().map(|command| command.name));
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len());
}

#[test]
fn every_kind_of_record_is_among_the_states() {
    let met: BTreeSet<_> = states().iter().map(|(_, record)| record_kind(record.as_ref())).collect();
    assert_eq!(met, RECORD_KINDS.iter().copied().collect());
}

#[test]
fn every_form_of_a_command_is_in_the_table() {
    let met: BTreeSet<_> = commands().iter().flatten().map(|command| command.form).collect();
    let all: BTreeSet<_> = [SINGLE_FORMS, DISPOSITIONS, RESOLUTIONS].concat().into_iter().collect();
    assert_eq!(met, all);
    for command in commands().iter().flatten() {
        assert!(command.name.starts_with(command.form), "{} is {}", command.name, command.form);
    }
}

#[test]
fn every_command_of_the_domain_is_in_the_table() {
    let mut in_domain = BTreeSet::new();
    let domain = concat!(env!("CARGO_MANIFEST_DIR"), "/src/domain");
    for file in walkdir::WalkDir::new(domain).into_iter().map(Result::unwrap) {
        if file.path().extension().is_some_and(|extension| extension == "rs") {
            let source = syn::parse_file(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
            for item in source.items {
                if let syn::Item::Impl(item) = item
                    && let Some((path, _)) = item.trait_
                    && path.is_ident("Command")
                    && let syn::Type::Path(command) = *item.self_ty
                {
                    in_domain.insert(command.path.segments.last().unwrap().ident.to_string());
                }
            }
        }
    }
    let in_table: BTreeSet<_> = commands()
        .iter()
        .flatten()
        .map(|command| command.form.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(in_domain, in_table);
}
