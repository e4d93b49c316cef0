//! A cluster that wants TLS, client certificates and passwords: what each mistake is answered with.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use scylla::client::session_builder::SessionBuilder;
use semel::storage::conformance::{Samples, key};
use semel::storage::scylla::schema;
use semel::storage::scylla::{ClientCertificate, ConnectError, Credentials, ScyllaStore, Settings, Tls};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::database::{SetClock, mark_unknown, put, read, replication};

/// An authority, and what it signed.
#[derive(Debug)]
struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority");
        let certificate = params.self_signed(&key).expect("a certificate");
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).expect("a file");
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for these addresses, and its key.
    fn sign(&self, name: &str, addresses: &[IpAddr]) -> ClientCertificate {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.distinguished_name = named(name);
        params.subject_alt_names = addresses.iter().map(|address| SanType::IpAddress(*address)).collect();
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |kind: &str, text: String| {
            let path = self.directory.path().join(format!("{name}.{kind}.pem"));
            std::fs::write(&path, text).expect("a file");
            path
        };
        ClientCertificate {
            certificate: file("certificate", signed.pem()),
            key: file("key", key.serialize_pem()),
        }
    }
}

/// Executes statements as the cluster's own superuser.
async fn execute(cluster: &Cluster, tls: &Tls, statements: &[&str]) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&tls.ca).expect("a certificate")).expect("an authority");
    let client = tls.client.as_ref().expect("a client certificate");
    let certificate = CertificateDer::from_pem_file(&client.certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&client.key).expect("a key");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .expect("they belong together");
    let session = SessionBuilder::new()
        .known_nodes(cluster.contact_points())
        .user("cassandra", "cassandra")
        .tls_context(Some(Arc::new(config)))
        .build()
        .await
        .expect("a session");
    for statement in statements {
        session.query_unpaged(*statement, ()).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// What makes a node want all of it. It reads PEM, and the key stands before the certificate.
fn extra_yaml(node: &ClientCertificate, ca: &Path, keystore: &Path) -> String {
    let text = |path: &Path| std::fs::read_to_string(path).expect("a file");
    std::fs::write(keystore, text(&node.key) + &text(&node.certificate)).expect("a file");
    format!(
        "authenticator: PasswordAuthenticator\n\
         role_manager: CassandraRoleManager\n\
         authorizer: CassandraAuthorizer\n\
         permissions_validity: 0ms\n\
         client_encryption_options:\n\
         \x20 enabled: true\n\
         \x20 optional: false\n\
         \x20 require_client_auth: true\n\
         \x20 ssl_context_factory:\n\
         \x20   class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n\
         \x20 keystore: {}\n\
         \x20 truststore: {}\n",
        keystore.display(),
        ca.display()
    )
}

pub(crate) fn a_secured_cluster_is_used_and_mistakes_are_named(_: &mut Cluster, runtime: &Runtime) {
    let ours = Authority::new();
    let cluster = Cluster::start_with(1, "", |addresses| {
        let addresses: Vec<_> = addresses.iter().map(|address| IpAddr::V4(*address)).collect();
        extra_yaml(&ours.sign("node", &addresses), &ours.ca(), &ours.directory.path().join("keystore.pem"))
    });
    let client = ours.sign("client", &[]);
    let tls = Tls { ca: ours.ca(), client: Some(client.clone()) };
    let credentials = |user: &str, password: &str| {
        Some(Credentials { user: user.to_owned(), password: password.to_owned() })
    };
    let good = Settings {
        tls: Some(tls.clone()),
        credentials: credentials("cassandra", "cassandra"),
        ..Settings::new(cluster.contact_points(), "secured")
    };
    runtime.block_on(async {
        // The role is made a moment after the node listens.
        let one = replication(1);
        let mut applied = schema::apply(&good, Some(&one)).await;
        for _ in 0..300 {
            if !matches!(applied, Err(ConnectError::CredentialsWrong { .. })) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            applied = schema::apply(&good, Some(&one)).await;
        }
        applied.expect("the schema is applied");
        let clock = || SetClock::at(1);
        ScyllaStore::connect(good.clone(), clock()).await.expect("the store opens");

        let others = Authority::new();
        let with_tls = |tls: Tls| Settings { tls: Some(tls), ..good.clone() };
        let missing = ours.directory.path().join("missing.pem");
        let garbage = ours.directory.path().join("garbage.pem");
        std::fs::write(&garbage, "no certificate").expect("a file");
        let strangers = Some(others.sign("stranger", &[]));
        let mixed = ClientCertificate { key: ours.sign("other", &[]).key, ..client.clone() };
        let (path, garbage_path) = (missing.display().to_string(), garbage.display().to_string());
        let cases: Vec<(&str, Settings, Vec<&str>)> = vec![
            ("no TLS", Settings { tls: None, ..good.clone() }, vec!["may want TLS"]),
            (
                "another authority",
                with_tls(Tls { ca: others.ca(), ..tls.clone() }),
                vec!["TLS", "the CA file"],
            ),
            (
                "no client certificate",
                with_tls(Tls { client: None, ..tls.clone() }),
                vec!["TLS", "certificate"],
            ),
            ("a stranger's certificate", with_tls(Tls { client: strangers, ..tls.clone() }), vec!["TLS"]),
            ("a missing CA file", with_tls(Tls { ca: missing, ..tls.clone() }), vec![&path]),
            (
                "a CA file of garbage",
                with_tls(Tls { ca: garbage, ..tls.clone() }),
                vec![&garbage_path, "PEM"],
            ),
            (
                "a key of another",
                with_tls(Tls { client: Some(mixed), ..tls.clone() }),
                vec!["does not belong"],
            ),
            ("no user", Settings { credentials: None, ..good.clone() }, vec!["asks for a user"]),
            (
                "a wrong password",
                Settings { credentials: credentials("cassandra", "hunter2"), ..good.clone() },
                vec!["'cassandra'", "password"],
            ),
        ];
        for (name, settings, parts) in cases {
            let debug = format!("{settings:?}");
            let error = ScyllaStore::connect(settings, clock()).await.expect_err(name).to_string();
            println!("{name}: {error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{name}: {error}");
            assert!(!error.contains("hunter2") && !debug.contains("hunter2"), "{name}: the password is told");
        }

        // A role that may connect, and nothing else.
        let role = "CREATE ROLE guest WITH PASSWORD = 'guest' AND LOGIN = true";
        execute(&cluster, &tls, &[role]).await;
        let guest = Settings { credentials: credentials("guest", "guest"), ..good.clone() };
        let elsewhere = Settings { keyspace: "elsewhere".to_owned(), ..guest.clone() };
        for (doing, refused) in [
            ("reading the schema's number", ScyllaStore::connect(guest.clone(), clock()).await.map(|_| ())),
            ("defining the tables", schema::apply(&elsewhere, Some(&one)).await.map(|_| ())),
        ] {
            let refused = refused.expect_err(doing);
            println!("{refused}");
            assert!(matches!(refused, ConnectError::NotAllowed { .. }) && !refused.may_pass(), "{refused}");
            let text = refused.to_string();
            assert!(text.starts_with(doing) && text.contains("guest") && text.contains("grant it"), "{text}");
        }
        // What docs/OPERATIONS.md says is enough.
        let grants =
            ["GRANT SELECT ON KEYSPACE secured TO guest", "GRANT MODIFY ON KEYSPACE secured TO guest"];
        execute(&cluster, &tls, &grants).await;
        let store = ScyllaStore::connect(guest, clock()).await.expect("the store opens");
        put(&store, &key("t", 1), None, Samples::in_progress(1), &mark_unknown()).await;
        assert!(read(&store, &key("t", 1)).await.is_some());
    });
}
