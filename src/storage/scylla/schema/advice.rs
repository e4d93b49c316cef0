//! What works, and should be otherwise all the same.

use std::collections::HashMap;
use std::time::Duration;

/// What was found out about a cluster and a keyspace.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) keyspace: String,
    pub(super) datacenter: String,
    /// How many nodes the datacenter has.
    pub(super) nodes: usize,
    /// As `system_schema.keyspaces` has it: the class, and the factors.
    pub(super) replication: HashMap<String, String>,
    /// Settings of the node that was asked, as far as it tells: Cassandra does.
    pub(super) settings: HashMap<String, String>,
    pub(super) request_timeout: Duration,
}

/// The settings that advice is about.
pub(super) const SETTINGS: [&str; 5] = [
    "paxos_variant",
    "commitlog_sync",
    "storage_compatibility_mode",
    "cas_contention_timeout",
    "read_request_timeout",
];

impl Facts {
    /// How many replicas a key has in the datacenter; none where it has none.
    pub(super) fn replicas(&self) -> Option<usize> {
        let by_datacenter = self.replication.get(&self.datacenter);
        // `SimpleStrategy`, or a default for every datacenter.
        let anywhere = self.replication.get("replication_factor");
        let factor = by_datacenter.or(anywhere)?;
        // ScyllaDB may name the racks, and Cassandra adds transient replicas behind a slash.
        let number: String = factor.chars().take_while(char::is_ascii_digit).collect();
        let factor = number.parse().unwrap_or_else(|_| factor.split(',').count());
        (factor > 0).then_some(factor)
    }

    /// One sentence for each.
    pub(super) fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let (keyspace, datacenter, nodes) = (&self.keyspace, &self.datacenter, self.nodes);
        if let Some(replicas) = self.replicas().filter(|replicas| *replicas < 3 && nodes > *replicas) {
            let cost = if replicas == 1 {
                "the loss of any node stops its part of the keys, and loses what only it had"
            } else {
                "the loss of any node stops the keys that it has a replica of"
            };
            advice.push(format!(
                "the keyspace '{keyspace}' has replication factor {replicas} in the datacenter '{datacenter}', which has \
                 {nodes} nodes: {cost}; make it 3 with ALTER KEYSPACE, then repair it"
            ));
        }
        if self.replication.get("class").is_some_and(|class| class.ends_with("SimpleStrategy")) {
            advice.push(format!(
                "the keyspace '{keyspace}' is replicated by SimpleStrategy, which knows no datacenters and no racks; use \
                 NetworkTopologyStrategy"
            ));
        }
        if self.is_set("paxos_variant", "v1") {
            advice.push(
                "the nodes run paxos_variant v1, under which most conditional writes of a key that many want at once time \
                 out; set v2 on every node"
                    .to_owned(),
            );
        }
        if self.is_set("commitlog_sync", "periodic") {
            advice.push(
                "the nodes run commitlog_sync periodic: when power fails on every replica at once, the last seconds of \
                 acknowledged writes are lost; set group or batch on every node where that must not be"
                    .to_owned(),
            );
        }
        for name in ["cas_contention_timeout", "read_request_timeout"] {
            let limit = self.settings.get(name).and_then(|text| milliseconds(text));
            if let Some(limit) = limit.filter(|limit| self.request_timeout <= *limit) {
                advice.push(format!(
                    "the request timeout is {} ms, and the nodes' {name} is {} ms: raise the former above the latter, or \
                     the outcome of more writes will be unknown",
                    self.request_timeout.as_millis(),
                    limit.as_millis()
                ));
            }
        }
        advice
    }

    /// Whether moments of expiry end in 2038: where the node does not say otherwise.
    pub(super) fn expiry_ends_in_2038(&self) -> bool {
        !(self.is_set("storage_compatibility_mode", "none")
            || self.is_set("storage_compatibility_mode", "upgrading"))
    }

    fn is_set(&self, name: &str, value: &str) -> bool {
        self.settings.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }
}

/// Cassandra writes `1800ms`, and `5s` where it was told so.
fn milliseconds(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let value = number.parse().ok()?;
    match &text[number.len()..] {
        "ms" => Some(Duration::from_millis(value)),
        "s" => Some(Duration::from_secs(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(replication: &[(&str, &str)], settings: &[(&str, &str)]) -> Facts {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Facts {
            keyspace: "k".to_owned(),
            datacenter: "dc".to_owned(),
            nodes: 3,
            replication: map(replication),
            settings: map(settings),
            request_timeout: Duration::from_secs(10),
        }
    }

    const NETWORK: (&str, &str) = ("class", "org.apache.cassandra.locator.NetworkTopologyStrategy");

    #[test]
    fn a_cluster_as_it_should_be_gets_none() {
        let good = facts(
            &[NETWORK, ("dc", "3")],
            &[
                ("paxos_variant", "v2"),
                ("commitlog_sync", "group"),
                ("cas_contention_timeout", "1800ms"),
                ("read_request_timeout", "5s"),
            ],
        );
        assert_eq!(good.advice(), Vec::<String>::new());
        assert_eq!(Facts { nodes: 1, ..facts(&[NETWORK, ("dc", "1")], &[]) }.advice(), Vec::<String>::new());
    }

    #[test]
    fn each_piece_of_advice() {
        for (replication, settings, part) in [
            (&[NETWORK, ("dc", "1")][..], &[][..], "replication factor 1"),
            (&[NETWORK, ("dc", "2")], &[], "replication factor 2"),
            (&[("class", "a.SimpleStrategy"), ("replication_factor", "3")], &[], "NetworkTopologyStrategy"),
            (&[NETWORK, ("dc", "3")], &[("paxos_variant", "v1")], "paxos_variant v1"),
            (&[NETWORK, ("dc", "3")], &[("commitlog_sync", "periodic")], "commitlog_sync periodic"),
            (&[NETWORK, ("dc", "3")], &[("cas_contention_timeout", "10000ms")], "cas_contention_timeout"),
        ] {
            let advice = facts(replication, settings).advice();
            assert!(advice.len() == 1 && advice[0].contains(part), "{part}: {advice:?}");
        }
    }

    #[test]
    fn how_many_replicas() {
        for (replication, expected) in [
            (&[NETWORK, ("dc", "3")][..], Some(3)),
            (&[NETWORK, ("dc", "3/1")], Some(3)),
            (&[NETWORK, ("dc", "['r1', 'r2', 'r3']")], Some(3)),
            (&[NETWORK, ("other", "3")], None),
            (&[NETWORK, ("dc", "0")], None),
            (&[("class", "SimpleStrategy"), ("replication_factor", "2")], Some(2)),
        ] {
            assert_eq!(facts(replication, &[]).replicas(), expected, "{replication:?}");
        }
    }

    #[test]
    fn when_expiry_ends() {
        for (mode, ends) in [("NONE", false), ("UPGRADING", false), ("CASSANDRA_4", true)] {
            assert_eq!(facts(&[], &[("storage_compatibility_mode", mode)]).expiry_ends_in_2038(), ends);
        }
        assert!(facts(&[], &[]).expiry_ends_in_2038());
    }
}
