//! The settings of the store on a database, and what is wrong with them together.

use std::num::NonZeroUsize;
use std::path::Path;

use super::effective::Effective;
use super::problem::Problem;
use super::settings::Parsed;
use crate::storage::scylla::{ClientCertificate, Credentials, Listing, Ordering, Settings, Tls};

impl Effective {
    /// The database and how to use it; `None` where problems say why not.
    pub(super) fn scylla(&self, problems: &mut Vec<Problem>) -> Option<Settings> {
        let before = problems.len();
        let keyspace = self.text("scylla.keyspace");
        if !Settings::is_keyspace_name(keyspace) {
            let problem = "must be 1 to 48 letters, digits and underscores, beginning with a letter";
            problems.push(self.problem("scylla.keyspace", Some(format!("{keyspace:?}")), problem));
        }
        let nodes = self.hosts("scylla.nodes").unwrap_or_default();
        if nodes.is_empty() {
            let problem = "is not set; name some nodes of the database, such as \"10.0.0.1,10.0.0.2\"";
            problems.push(self.problem("scylla.nodes", None, problem));
        }
        let credentials = self.credentials(problems);
        let tls = self.tls(problems);
        let settings = Settings {
            datacenter: self.is_set("scylla.datacenter").then(|| self.text("scylla.datacenter").to_owned()),
            credentials,
            tls,
            connections: NonZeroUsize::new(self.fitting("scylla.connections_per_shard"))
                .unwrap_or(NonZeroUsize::MIN),
            connect_timeout: self.length("scylla.connect_timeout"),
            request_timeout: self.length("scylla.request_timeout"),
            ordering: match self.text("scylla.ordering") {
                "serial" => Ordering::Serial,
                _ => Ordering::LocalSerial,
            },
            listing: if self.text("scylla.listing") == "open" { Listing::Open } else { Listing::Unresolved },
            ..Settings::new(nodes, keyspace)
        };
        (problems.len() == before).then_some(settings)
    }

    fn hosts(&self, key: &str) -> Option<Vec<String>> {
        match self.value(key)? {
            Parsed::Hosts(hosts) => Some(hosts.clone()),
            _ => unreachable!("{key} holds hosts in SETTINGS"),
        }
    }

    fn credentials(&self, problems: &mut Vec<Problem>) -> Option<Credentials> {
        const USER: (&str, &str) = ("scylla.user", "scylla.user_file");
        const PASSWORD: (&str, &str) = ("scylla.password", "scylla.password_file");
        let before = problems.len();
        let user = self.text_or_file(USER.0, USER.1, 1, problems);
        let password = self.text_or_file(PASSWORD.0, PASSWORD.1, 1, problems);
        if problems.len() > before {
            return None;
        }
        let alone = |(text, file): (&'static str, &'static str), other: &str| {
            let named = if self.is_set(text) { text } else { file };
            self.problem(
                named,
                None,
                format!("is set, and neither {other} nor {other}_file; set both, or none"),
            )
        };
        match (user, password) {
            (Some(user), Some(password)) => return Some(Credentials { user, password }),
            (Some(_), None) => problems.push(alone(USER, PASSWORD.0)),
            (None, Some(_)) => problems.push(alone(PASSWORD, USER.0)),
            (None, None) => {}
        }
        None
    }

    fn tls(&self, problems: &mut Vec<Problem>) -> Option<Tls> {
        const CA: &str = "scylla.tls_ca_file";
        const CERTIFICATE: &str = "scylla.tls_certificate_file";
        const KEY: &str = "scylla.tls_key_file";
        let before = problems.len();
        let mut needs = |present: &'static str, missing: &'static str| {
            if self.is_set(present) && !self.is_set(missing) {
                problems.push(self.problem(present, None, format!("is set, and {missing} is not; set both")));
            }
        };
        needs(CERTIFICATE, KEY);
        needs(KEY, CERTIFICATE);
        needs(CERTIFICATE, CA);
        if problems.len() > before {
            return None;
        }
        let path = |key: &str| self.path(key).cloned();
        let client = path(CERTIFICATE).zip(path(KEY));
        let client = client.map(|(certificate, key)| ClientCertificate { certificate, key });
        let tls = Tls { ca: path(CA)?, client };
        for (file, problem) in tls.problems() {
            let is = |key: &str| self.path(key) == Some(&file);
            let key = [CA, CERTIFICATE, KEY].into_iter().find(|key| is(key)).unwrap_or(CA);
            problems.push(self.problem(key, Some(shown(&file)), problem));
        }
        Some(tls)
    }
}

fn shown(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
