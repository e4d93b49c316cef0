//! What differs between two policies, for the audit log.

use std::collections::BTreeMap;

use super::policy_file::{FIELDS, shown};
use crate::audit::Change;
use crate::domain::{InForce, PolicyRules};

/// Each value of each table that is not what it was: a rule that is new or gone, with what it has otherwise than the
/// defaults, and each field that changed.
pub(super) fn policy_changes(before: &PolicyRules, after: &PolicyRules) -> Vec<Change> {
    let tables = |rules: &PolicyRules| -> BTreeMap<String, BTreeMap<&'static str, String>> {
        let table = |in_force: &InForce| {
            FIELDS.into_iter().map(|field| (field, shown(&in_force.policy, field))).collect()
        };
        rules.all().map(|in_force| (in_force.source.clone(), table(in_force))).collect()
    };
    let (old, new) = (tables(before), tables(after));
    let mut changes = Vec::new();
    let all: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for of in all {
        let change = |field: &str, before: Option<&String>, after: Option<&String>| Change {
            of: of.clone(),
            field: field.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        };
        let (was, is) = (old.get(of), new.get(of));
        match (was, is) {
            (Some(was), Some(is)) => {
                let differ = FIELDS.into_iter().filter(|field| was[field] != is[field]);
                changes.extend(differ.map(|field| change(field, was.get(field), is.get(field))));
            }
            (None, Some(is)) => {
                changes.push(change("rule", None, Some(&"added".to_owned())));
                let own = FIELDS.into_iter().filter(|field| new["defaults"][field] != is[field]);
                changes.extend(own.map(|field| change(field, None, is.get(field))));
            }
            (Some(was), None) => {
                changes.push(change("rule", Some(&"removed".to_owned()), None));
                let own = FIELDS.into_iter().filter(|field| old["defaults"][field] != was[field]);
                changes.extend(own.map(|field| change(field, was.get(field), None)));
            }
            (None, None) => {}
        }
    }
    changes
}
