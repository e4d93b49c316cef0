//! Encrypted connections: who gets one, how long it may take, and certificates that change.

mod support {
    pub(crate) mod authority;
    pub(crate) mod server;
}

use std::sync::Arc;
use std::time::Duration;

use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::server::{Auth, ClientCertificates, Limits, Security, Tls, TlsPart, TlsPem, TrustDomain};
use support::authority::{Authority, Pair};
use support::server::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const ALPHA: &str = "spiffe://example.org/tenant/shop/role/client";

fn pem<'a>(pair: &'a Pair, ca: &'a Authority) -> TlsPem<'a> {
    TlsPem {
        certificate: pair.certificate.as_bytes(),
        key: pair.key.as_bytes(),
        client_ca: Some(ca.pem.as_bytes()),
    }
}

/// A server with a certificate of `authority`, which believes its clients', too.
struct World {
    server: RunningServer,
    tls: Arc<Tls>,
    authority: Authority,
}

impl World {
    async fn new(clients: ClientCertificates, limits: Limits) -> Self {
        let (authority, clock) = (Authority::new(), TestClock::new());
        let tls = Arc::new(Tls::new(pem(&authority.server(), &authority), clients, clock.clone()).unwrap());
        let auth = Auth::new(clock.clone()).with_trust_domain(TrustDomain::new("example.org").unwrap());
        let security = Security { tls: Some(tls.clone()), auth: Some(Arc::new(auth)) };
        let server = Start { limits, security, clock, ..Start::default() }.serve().await;
        Self { server, tls, authority }
    }

    /// What a Begin comes to for somebody who believes `ca` and shows this.
    async fn begin(&self, ca: &Authority, shown: Option<&Pair>) -> Result<(), Status> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca.pem));
        if let Some(pair) = shown {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.server.grpc)).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect_lazy();
        IdempotencyServiceClient::new(channel).begin(begin("k", 1)).await.map(drop)
    }
}

/// Whether the connection was refused, before any call was.
fn no_connection(result: Result<(), Status>) -> bool {
    result.is_err_and(|status| status.get_error_details().error_info().is_none() && status.code() != Code::Ok)
}

#[tokio::test]
async fn only_certificates_of_the_right_authority_are_believed() {
    let others = Authority::new();
    for clients in [ClientCertificates::Optional, ClientCertificates::Required] {
        let world = World::new(clients, Limits::default()).await;
        let ours = &world.authority;
        assert!(world.begin(ours, Some(&ours.client(&[ALPHA]))).await.is_ok(), "{clients:?}");
        assert!(
            no_connection(world.begin(&others, Some(&ours.client(&[ALPHA]))).await),
            "a server not believed"
        );
        assert!(
            no_connection(world.begin(ours, Some(&others.client(&[ALPHA]))).await),
            "a stranger's certificate"
        );
        // By the server's clock, which says 2027.
        for years in [(2000, 2026), (2028, 2040)] {
            let late = ours.client_of(&[ALPHA], years);
            assert!(no_connection(world.begin(ours, Some(&late)).await), "{years:?}");
        }
        let none = world.begin(ours, None).await;
        match clients {
            ClientCertificates::Optional => assert_eq!(reason(&none.unwrap_err()), "CREDENTIAL_REQUIRED"),
            ClientCertificates::Required => assert!(no_connection(none)),
        }
        // And nobody is served who does not encrypt.
        let plain = Endpoint::from_shared(format!("http://{}", world.server.grpc)).unwrap().connect_lazy();
        let plain = IdempotencyServiceClient::new(plain).begin(begin("k", 1)).await.map(drop);
        assert!(no_connection(plain));
    }
}

/// Silence before, in, and after the handshake: each is ended, and nobody else waits for it.
#[tokio::test]
async fn a_handshake_has_its_time_and_keeps_nobody_waiting() {
    let limits = Limits { greeting_time: Duration::from_secs(2), ..Limits::default() };
    let world = World::new(ClientCertificates::Optional, limits).await;
    let mut stuck = Vec::new();
    for beginning in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"].repeat(20) {
        let mut socket = TcpStream::connect(&world.server.grpc).await.unwrap();
        socket.write_all(beginning).await.unwrap();
        stuck.push(socket);
    }
    // A handshake, and then nothing.
    let mut roots = rustls::RootCertStore::empty();
    let authority =
        rustls::pki_types::pem::PemObject::from_pem_slice(world.authority.pem.as_bytes()).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(&world.server.grpc).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut greeted_not = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();

    let client = world.authority.client(&[ALPHA]);
    world.begin(&world.authority, Some(&client)).await.unwrap();
    for mut socket in stuck {
        // Whatever it says of it, it closes.
        while matches!(socket.read(&mut [0; 64]).await, Ok(1..)) {}
    }
    while matches!(greeted_not.read(&mut [0; 64]).await, Ok(1..)) {}
    world.begin(&world.authority, Some(&client)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_replaced_while_calls_go_on() {
    let world = World::new(ClientCertificates::Required, Limits::default()).await;
    let (old, new) = (&world.authority, Authority::new());
    let client = old.client(&[ALPHA]);
    let endpoint = Endpoint::from_shared(format!("https://{}", world.server.grpc)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&old.pem))
        .identity(Identity::from_pem(&client.certificate, &client.key));
    let mut open = IdempotencyServiceClient::new(endpoint.tls_config(tls).unwrap().connect().await.unwrap());
    open.begin(begin("k", 1)).await.unwrap();

    world.tls.replace(pem(&new.server(), &new)).unwrap();
    open.begin(begin("k", 1)).await.unwrap();
    world.begin(&new, Some(&new.client(&[ALPHA]))).await.unwrap();
    assert!(no_connection(world.begin(old, Some(&client)).await));
    assert!(
        no_connection(world.begin(&new, Some(&client)).await),
        "the authority of clients is replaced, too"
    );

    // What cannot be used changes nothing.
    let (server, other) = (new.server(), new.server());
    let broken = Pair { certificate: server.certificate.clone(), key: other.key };
    let garbage = Pair { certificate: "garbage".into(), key: "garbage".into() };
    let (expired, early) = (new.server_of((2000, 2026)), new.server_of((2028, 2040)));
    for (pair, parts, problem) in [
        (&broken, &[TlsPart::Key][..], "does not belong to the certificate"),
        (&garbage, &[TlsPart::Certificate, TlsPart::Key], "holds no certificate in PEM form"),
        (&expired, &[TlsPart::Certificate], "expired at"),
        (&early, &[TlsPart::Certificate], "is not valid before"),
    ] {
        let problems = world.tls.replace(pem(pair, &new)).unwrap_err();
        assert_eq!(problems.iter().map(|(part, _)| *part).collect::<Vec<_>>(), parts);
        assert!(problems[0].1.contains(problem), "{problems:?}");
        let told = format!("{problems:?}");
        assert!(!told.contains("PRIVATE KEY"), "{told}");
    }
    let no_ca = TlsPem { client_ca: Some(b"nothing"), ..pem(&server, &new) };
    assert_eq!(world.tls.replace(no_ca).unwrap_err()[0].0, TlsPart::ClientCa);
    world.begin(&new, Some(&new.client(&[ALPHA]))).await.unwrap();
}
