//! Certificates of both sides, and credentials, with a real server: what is believed, shown, refused, and read again.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use semel_client::testing::TestServer;
use semel_client::{Client, ClientOptions, Error, ErrorKind, Outcome, Request, proto};
use tempfile::TempDir;

/// How long something may take that always happens. Nothing is judged by how soon it does.
const AT_MOST: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_millis(500);
const ALPHA: &str = "spiffe://example.org/tenant/alpha/role/client";

/// Signs certificates.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self(Issuer::new(params, key), pem)
    }
}

/// A directory of certificates, keys, credentials and tokens.
struct Files(TempDir);

impl Files {
    /// Those of a server, and of a client in the tenant `alpha`.
    fn new(authority: &Authority) -> Self {
        let files = Self(tempfile::tempdir().expect("a directory"));
        files.write("ca.pem", &authority.1);
        files.pair("server", authority, SanType::IpAddress([127, 0, 0, 1].into()));
        files.pair("client", authority, SanType::URI(ALPHA.try_into().expect("ASCII")));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the directory can be written");
    }

    fn pair(&self, name: &str, authority: &Authority, stands_for: SanType) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.subject_alt_names = vec![stands_for];
        let certificate = params.signed_by(&key, &authority.0).expect("a certificate");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}-key.pem"), &key.serialize_pem());
    }

    /// `semel token …` on the file of credentials: what it prints.
    fn token(&self, arguments: &[&str]) -> serde_json::Value {
        let program = std::env::var_os("SEMEL_BIN").unwrap_or_else(|| "semel".into());
        let mut command = Command::new(program);
        command.arg("token").args(arguments).arg("--file").arg(self.path("credentials.toml"));
        let made = command.args(["--output", "json"]).output().expect("semel runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        serde_json::from_slice(&made.stdout).expect("JSON")
    }

    /// Makes a token of a tenant's client; its name is the tenant's.
    fn token_of(&self, tenant: &str) -> String {
        let made = self.token(&["create", "--name", tenant, "--tenant", tenant, "--role", "client"]);
        made["token"].as_str().expect("a token").to_owned()
    }

    /// A server with these options; the values of those that end so are files here.
    async fn serve(&self, options: &[(&str, &str)]) -> TestServer {
        let tls = [("--tls-certificate-file", "server.pem"), ("--tls-key-file", "server-key.pem")];
        let arguments = tls.iter().chain(options).flat_map(|(option, value)| {
            let is_file = option.ends_with("-file");
            let value = if is_file { self.path(value).into_os_string() } else { value.into() };
            [option.into(), value]
        });
        TestServer::start_with(arguments).await.expect("it starts")
    }

    /// The tenant is the credential's.
    fn options(&self, server: &TestServer) -> ClientOptions {
        ClientOptions::new().address(server.address()).tenant("").tls_ca(self.path("ca.pem"))
    }

    fn identified(&self, server: &TestServer) -> ClientOptions {
        self.options(server).tls_identity(self.path("client.pem"), self.path("client-key.pem"))
    }
}

/// The one operation of these tests.
async fn run(client: &Client) -> Result<Outcome<String>, Error<String>> {
    client.once("e", "k", Request::none(), async |_| Ok("done".to_owned())).await
}

/// What the one operation is refused for. No answer is one soon.
async fn refused(options: ClientOptions) -> (&'static str, String) {
    let client = Client::new(options.timeout(SOON)).expect("a client");
    let error = run(&client).await.expect_err("it is refused");
    (error.name(), error.reason().to_owned())
}

#[tokio::test]
async fn only_the_right_authority_is_believed() {
    let files = Files::new(&Authority::new());
    files.write("other.pem", &Authority::new().1);
    let token = files.token_of("alpha");
    let server = files.serve(&[("--auth-credentials-file", "credentials.toml")]).await;
    for (name, options) in [
        ("the system's", ClientOptions::new().address(server.address())),
        ("another", files.options(&server).tls_ca(files.path("other.pem"))),
        ("none", ClientOptions::new().address(server.address().replace("https", "http"))),
    ] {
        assert_eq!(refused(options.tenant("").token(&token)).await.0, "StoreUnavailable", "{name}");
    }
    let client = Client::new(files.options(&server).token(&token)).expect("a client");
    assert!(!run(&client).await.expect("it is believed").replayed, "none of them ran it");
}

#[tokio::test]
async fn a_certificate_is_shown_and_read_again() {
    let authority = Authority::new();
    let files = Files::new(&authority);
    let server = files
        .serve(&[
            ("--tls-client-ca-file", "ca.pem"),
            ("--tls-client-certificates", "required"),
            ("--auth-trust-domain", "example.org"),
        ])
        .await;
    let client = Client::new(files.identified(&server)).expect("a client");
    assert!(!run(&client).await.expect("it is in alpha").replayed);
    assert_eq!(refused(files.options(&server)).await.0, "StoreUnavailable", "who shows none");

    // A stranger's is refused, until the file holds a good one; that stands for another tenant.
    let stranger = Authority::new();
    files.pair("client", &stranger, SanType::URI(ALPHA.try_into().expect("ASCII")));
    let client = Client::new(files.identified(&server).timeout(SOON)).expect("a client");
    assert_eq!(run(&client).await.expect_err("it is a stranger").name(), "StoreUnavailable");
    let beta = "spiffe://example.org/tenant/beta/role/client";
    files.pair("client", &authority, SanType::URI(beta.try_into().expect("ASCII")));
    let read_again = async {
        loop {
            if let Ok(outcome) = run(&client).await {
                return outcome;
            }
        }
    };
    let outcome = tokio::time::timeout(AT_MOST, read_again).await.expect("the files are read again");
    assert!(!outcome.replayed, "nothing is known in beta");
}

#[tokio::test]
async fn a_token_is_shown_and_its_file_read_again() {
    let files = Files::new(&Authority::new());
    let (alpha, beta) = (files.token_of("alpha"), files.token_of("beta"));
    let server = files.serve(&[("--auth-credentials-file", "credentials.toml")]).await;
    let none = refused(files.options(&server)).await;
    assert_eq!(none, ("NotAllowed", "CREDENTIAL_REQUIRED".to_owned()));
    let wrong = refused(files.options(&server).token("semel_wrong")).await;
    assert_eq!(wrong, ("NotAllowed", "CREDENTIAL_INVALID".to_owned()));
    let elsewhere = refused(files.options(&server).token(&alpha).tenant("beta")).await;
    assert_eq!(elsewhere, ("NotAllowed", "TENANT_NOT_ALLOWED".to_owned()));

    files.write("token", &format!("{alpha}\n"));
    let client = Client::new(files.options(&server).token_file(files.path("token"))).expect("a client");
    assert!(!run(&client).await.expect("it is in alpha").replayed);
    assert!(run(&client).await.expect("it is in alpha").replayed);
    // What cannot be a token leaves the last one, and never is in an error.
    files.write("token", "half a tok");
    assert!(run(&client).await.expect("it is still in alpha").replayed);
    files.write("token", &beta);
    let read_again = async { while run(&client).await.expect("both are good").replayed {} };
    tokio::time::timeout(AT_MOST, read_again).await.expect("nothing is known in beta");
}

/// The token is revoked while the work runs, and replaced only after the report was refused.
#[tokio::test]
async fn a_report_waits_for_the_next_token() {
    let files = Files::new(&Authority::new());
    let old = files.token_of("alpha");
    let server = files.serve(&[("--auth-credentials-file", "credentials.toml")]).await;
    files.write("token", &old);
    let options = files.options(&server).token_file(files.path("token")).report_timeout(AT_MOST);
    let client = Client::new(options).expect("a client");
    let watcher = Client::new(files.options(&server).token(&old)).expect("a client");
    let work = async |_| {
        files.token(&["revoke", "--name", "alpha"]);
        let key = proto::Key { tenant: String::new(), endpoint: "e".into(), idempotency_key: "other".into() };
        loop {
            let known = watcher.lookup(proto::LookupRequest { key: Some(key.clone()) }).await;
            if matches!(known.expect_err("there is none").kind(), ErrorKind::NotAllowed) {
                return Ok("done".to_owned());
            }
        }
    };
    let replace = async {
        // Long after the report was first refused, or before: it is stored all the same.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let made = files.token(&["create", "--name", "next", "--tenant", "alpha", "--role", "client"]);
        files.write("token", made["token"].as_str().expect("a token"));
    };
    let (outcome, ()) = tokio::join!(client.once("e", "k", Request::none(), work), replace);
    assert_eq!(outcome.expect("it is stored").value, "done");
    assert!(run(&client).await.expect("it is known").replayed);
}

/// What is refused before anything is sent.
#[tokio::test]
async fn what_does_not_go_together_is_refused() {
    let files = Files::new(&Authority::new());
    files.write("garbage.pem", "this is no certificate");
    files.write("two", "semel_1 semel_2");
    let encrypted = || ClientOptions::new().address("https://semel.example:7400");
    let plain = || ClientOptions::new().address("http://semel.example:7400");
    let (certificate, key) = (files.path("client.pem"), files.path("client-key.pem"));
    for (options, reason) in [
        (ClientOptions::new().address("ftp://semel.example"), "ADDRESS"),
        (plain().tls_ca(files.path("ca.pem")), "ADDRESS"),
        (plain().token("t"), "ADDRESS"),
        (plain().token_file(files.path("two")), "ADDRESS"),
        (encrypted().tls_ca(files.path("missing.pem")), "TLS"),
        (encrypted().tls_ca(files.path("garbage.pem")), "TLS"),
        (encrypted().tls_identity(&certificate, files.path("missing.pem")), "TLS"),
        (encrypted().tls_identity(&certificate, files.path("garbage.pem")), "TLS"),
        (encrypted().tls_identity(files.path("garbage.pem"), &key), "TLS"),
        (encrypted().token("semel_1 semel_2"), "TOKEN"),
        (encrypted().token_file(files.path("two")), "TOKEN_FILE"),
        (encrypted().token_file(files.path("missing")), "TOKEN_FILE"),
        (encrypted().connections(0), "OPTIONS"),
    ] {
        let error = Client::new(options).expect_err(reason);
        assert_eq!((error.name(), error.reason()), ("Invalid", reason), "{error}");
        assert!(!error.to_string().contains("semel_1"), "an error repeats what a file holds: {error}");
    }
    Client::new(plain().token("t").insecure_token()).expect("it is known to be safe");
}
