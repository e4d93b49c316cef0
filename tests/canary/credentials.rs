//! Credentials of every kind, good and bad, on a server that encrypts: tokens, JSON Web Tokens, certificates and their
//! private keys are let out by neither end.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::Signal;
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::server::TokenHash;
use serde_json::{Value, json};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use crate::authority::{Authority, Pair, TokenIssuer, jwks};
use crate::collector::Collector;
use crate::planted::Planted;
use crate::program::{Heard, Program, errors, text};
use crate::server::attempt_id;
use crate::support::{count, semel};
use crate::{POLICY, sent_to};

const OPERATOR_URI: &str = "spiffe://example.org/tenant/shop/role/operator";

/// A server that takes every kind of credential, and what it is to be shown.
struct World {
    planted: Planted,
    directory: tempfile::TempDir,
    authority: Authority,
    issuer: TokenIssuer,
    /// Tokens that the server knows: of a client, an operator, one that has expired and one that is revoked.
    tokens: [String; 4],
    /// Everything that errors said, and commands.
    said: String,
    paths: u64,
}

impl World {
    fn new(planted: Planted) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (authority, issuer) = (Authority::new(), TokenIssuer::new("one"));
        let tokens = ["a client's", "an operator's", "an expired", "a revoked"]
            .map(|whose| format!("semel_{}", planted.plant(&format!("{whose} token"))));
        let world = Self { planted, directory, authority, issuer, tokens, said: String::new(), paths: 0 };
        let more = ["", "", "expires = 2020-01-01", "revoked = 2020-01-01"];
        let mut credentials = String::new();
        for (place, more) in more.into_iter().enumerate() {
            let role = if place == 1 { "operator" } else { "client" };
            credentials += &table(place, &world.tokens[place], role, more);
        }
        world.write("credentials.toml", &credentials);
        world.write("jwks.json", &jwks(&[world.issuer.jwk()]));
        world.write("policy.toml", POLICY);
        world.write("ca.pem", &world.authority.pem);
        world.keep("server", &world.authority.server());
        world
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Keeps a certificate and its key in files. The key is a secret, in its file's form too.
    fn keep(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.pem"), &pair.certificate);
        self.write(&format!("{name}-key.pem"), &pair.key);
        let lines: Vec<_> = pair.key.lines().filter(|line| !line.starts_with('-')).collect();
        self.planted.secret(&format!("the private key of {name}, as its file has it"), lines[1].as_bytes());
        let der = BASE64.decode(lines.concat()).unwrap();
        // ECPrivateKey: version 1, then the 32 bytes of the key.
        let before = [2_u8, 1, 1, 4, 32];
        let at = der.windows(before.len()).position(|bytes| bytes == before).unwrap() + before.len();
        self.planted.secret(&format!("the private key of {name}"), &der[at..at + 32]);
    }

    /// A certificate of `authority` whose name and serial number are unique.
    fn certificate(&self, authority: &Authority, name: &str, uri: &str) -> Pair {
        let (called, serial) =
            (self.planted.plant("a certificate's name"), self.planted.plant_long("a serial number", 20));
        let pair = authority.client_named(uri, &called, serial.as_bytes());
        self.keep(name, &pair);
        pair
    }

    fn serve(&self, format: &str, collector: &Collector) -> Program {
        let mut command = semel();
        command
            .current_dir(self.path())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.grpc())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={}", self.planted.plant("a collector's key")))
            .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--store", "memory"])
            .args(["--log-level", "trace", "--log-format", format, "--policy", "policy.toml"])
            .args(["--tls-certificate-file", "server.pem", "--tls-key-file", "server-key.pem"])
            .args(["--tls-client-ca-file", "ca.pem", "--auth-trust-domain", "example.org"])
            .args(["--auth-credentials-file", "credentials.toml", "--auth-jwks-file", "jwks.json"])
            .args(["--auth-jwt-algorithms", "ES256", "--auth-jwt-issuer", "https://issuer.example"])
            .args(["--auth-jwt-audience", "semel", "--audit-log", "audit.jsonl"]);
        Program::run(command)
    }

    async fn channel(&self, server: &Program, shown: Option<&Pair>) -> Result<Channel, String> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority.pem));
        if let Some(pair) = shown {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let endpoint = Endpoint::from_shared(server.url.clone()).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.map_err(|error| format!("{error:?}"))
    }

    /// Claims with something unique in them that is not the name of anybody.
    fn claims(&self, expires: u64) -> Value {
        json!({
            "iss": "https://issuer.example", "aud": "semel", "sub": "somebody", "exp": expires,
            "jti": self.planted.plant("a claim"), "semel_tenants": "shop", "semel_roles": "client",
        })
    }

    /// The token, whose signature is a secret: with it anybody could call.
    fn jwt(&self, issuer: &TokenIssuer, claims: &Value) -> String {
        let token = issuer.sign(claims);
        self.planted.secret("a JSON Web Token", token.rsplit('.').next().unwrap().as_bytes());
        token
    }

    /// One path: a Begin and an operator's call with these credentials, each of which ends for the reason, if any.
    async fn call(&mut self, channel: &Channel, authorization: &[String], [begin, forget]: [&str; 2]) {
        let key = proto::Key {
            tenant: "shop".into(),
            endpoint: "rerun/any".into(),
            idempotency_key: self.planted.plant("an idempotency key"),
        };
        let message = proto::BeginRequest {
            key: Some(key.clone()),
            attempt_id: attempt_id(1),
            ..proto::BeginRequest::default()
        };
        let mut client = IdempotencyServiceClient::new(channel.clone());
        let answer = client.begin(with(authorization, message)).await.map(drop);
        self.ends(begin, &answer);
        let message = proto::ForgetRecordRequest { key: Some(key), fence: 1, force: true };
        let mut operator = OperatorServiceClient::new(channel.clone());
        let answer = operator.forget_record(with(authorization, message)).await.map(drop);
        self.ends(forget, &answer);
    }

    fn ends(&mut self, reason: &str, answer: &Result<(), Status>) {
        self.paths += 1;
        let said = match answer {
            Ok(()) => String::new(),
            Err(status) => {
                let details = status.get_error_details();
                _ = writeln!(self.said, "{status:?} {details:?} {:?}", status.metadata());
                details.error_info().map(|info| info.reason.clone()).unwrap_or_default()
            }
        };
        assert_eq!(said, reason, "{answer:?}");
    }

    async fn token_paths(&mut self, server: &Program) {
        const INVALID: [&str; 2] = ["CREDENTIAL_INVALID"; 2];
        let channel = self.channel(server, None).await.unwrap();
        let bearer = |token: &str| vec![format!("Bearer {token}")];
        let [client, operator, expired, revoked] = self.tokens.clone();
        self.call(&channel, &[], ["CREDENTIAL_REQUIRED"; 2]).await;
        self.call(&channel, &bearer(&client), ["", "ROLE_REQUIRED"]).await;
        self.call(&channel, &bearer(&operator), ["ROLE_REQUIRED", "KEY_NOT_FOUND"]).await;
        self.call(&channel, &[bearer(&client), bearer(&operator)].concat(), INVALID).await;
        let wrong = [
            expired,
            revoked,
            format!("semel_{}", self.planted.plant("an unknown token")),
            self.planted.plant("what is no token"),
            format!("{0}.{0}.{0}", self.planted.plant("what is no JSON Web Token")),
        ];
        for token in wrong {
            self.call(&channel, &bearer(&token), INVALID).await;
        }
        let basic = BASE64.encode(format!("ann:{}", self.planted.plant("a password")));
        self.call(&channel, &[format!("Basic {basic}")], INVALID).await;

        let good = self.jwt(&self.issuer, &self.claims(4_000_000_000));
        self.call(&channel, &bearer(&good), ["", "ROLE_REQUIRED"]).await;
        let wrong = [
            self.jwt(&self.issuer, &self.claims(1_000_000_000)),
            self.jwt(&TokenIssuer::new("one"), &self.claims(4_000_000_000)),
            self.jwt(&TokenIssuer::new(&self.planted.plant("the id of a key")), &self.claims(4_000_000_000)),
            self.jwt(&self.issuer, &json!({"sub": self.planted.plant("the subject of a damaged token")})),
        ];
        for token in wrong {
            self.call(&channel, &bearer(&token), INVALID).await;
        }
    }

    async fn certificate_paths(&mut self, server: &Program) {
        let good = self.certificate(&self.authority, "operator", OPERATOR_URI);
        let channel = self.channel(server, Some(&good)).await.unwrap();
        self.call(&channel, &[], ["ROLE_REQUIRED", "KEY_NOT_FOUND"]).await;
        let unknown = self.certificate(&self.authority, "unknown", "spiffe://other.example/x");
        let channel = self.channel(server, Some(&unknown)).await.unwrap();
        self.call(&channel, &[], ["CREDENTIAL_INVALID"; 2]).await;
        let foreign = self.certificate(&Authority::new(), "foreign", OPERATOR_URI);
        if let Ok(channel) = self.channel(server, Some(&foreign)).await {
            // By TLS 1.3 a client learns only from its first call that it is not believed.
            let message = proto::GetPolicyRequest::default();
            let refused = OperatorServiceClient::new(channel).get_policy(message).await.unwrap_err();
            _ = writeln!(self.said, "{refused:?}");
        }
        server.log.wait_for("TLS handshake failed", 1);
        self.paths += 1;
    }

    /// Commands with credentials in files, good and bad.
    fn command_paths(&mut self, server: &Program) {
        self.write("good.token", &self.tokens[0]);
        self.write("bad.token", &format!("semel_{}", self.planted.plant("a token in a file")));
        self.write("broken-key.pem", &self.planted.plant("what is no key"));
        let begin = ["begin", "--endpoint", "jobs/Nightly", "--key", "of a command, which prints it"];
        for (shown, status) in [
            (&["--token-file", "good.token"][..], 0),
            (&["--token-file", "bad.token"], 112),
            (&["--tls-cert", "operator.pem", "--tls-key", "operator-key.pem"], 112),
            (&["--tls-cert", "operator.pem", "--tls-key", "broken-key.pem"], 2),
        ] {
            let mut command = server.semel(&[&begin[..], shown].concat());
            let command = command.current_dir(self.path()).env("SEMEL_TLS_CA", "ca.pem");
            let output = command.env("SEMEL_TENANT", "shop").output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{shown:?}: {}", errors(&output));
            _ = writeln!(self.said, "{}{}", text(&output), errors(&output));
            self.paths += 1;
        }
    }

    /// Files that are refused when they change, with what must not be shown of them.
    fn file_paths(&mut self, server: &Program) {
        let token = format!("semel_{}", self.planted.plant("a token in the place of its hash"));
        let wrong = [
            (
                "the credentials file",
                "credentials.toml",
                table(1, "", "client", "").replace(&TokenHash::of("").to_string(), &token),
            ),
            (
                "the JWKS file",
                "jwks.json",
                json!({"keys": [{"kty": "oct", "k": self.planted.plant("a shared key")}]}).to_string(),
            ),
            ("the TLS certificate", "server-key.pem", self.planted.plant("what is no private key")),
        ];
        for (what, name, text) in wrong {
            self.write(name, &text);
            server.signal(Signal::SIGHUP);
            server.log.wait_for(&format!("{what} is refused"), 1);
            self.paths += 1;
        }
    }
}

fn table(number: usize, token: &str, role: &str, more: &str) -> String {
    let sha256 = TokenHash::of(token);
    format!(
        "[[token]]\nname = \"number {number}\"\nsha256 = \"{sha256}\"\ntenants = [\"shop\"]\nroles = [\"{role}\"]\n{more}\n"
    )
}

fn with<T>(authorization: &[String], message: T) -> Request<T> {
    let mut request = Request::new(message);
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_let_out_nowhere() {
    let planted = Planted::default();
    let mut paths = 0;
    for format in ["human", "json"] {
        let mut world = World::new(planted.clone());
        let collector = Collector::start();
        let server = world.serve(format, &collector);
        world.token_paths(&server).await;
        world.certificate_paths(&server).await;
        world.command_paths(&server);
        world.file_paths(&server);
        let shown: String = ["/metrics", "/debug", "/readyz"].map(|path| server.get(path).1).concat();
        let (log, stdout) = (server.log.clone(), server.stdout.clone());
        assert!(server.stop().success());
        let (log, stdout) = (Heard::text(&log), Heard::text(&stdout));
        let audit = std::fs::read_to_string(world.path().join("audit.jsonl")).unwrap();
        for refused in ["CREDENTIAL_REQUIRED", "CREDENTIAL_INVALID", "ROLE_REQUIRED", "REFUSED"] {
            assert!(audit.contains(refused), "{refused} in {audit}");
        }
        let mut found = sent_to(collector, &planted);
        for (name, output) in [
            ("the log", &log),
            ("standard output", &stdout),
            ("the operations port", &shown),
            ("the audit log", &audit),
            ("an error, or a command", &world.said),
        ] {
            found.extend(planted.found_in(name, output.as_bytes()));
        }
        assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
        paths += world.paths;
    }
    count("canaries", planted.count());
    count("canary_paths", paths);
}
