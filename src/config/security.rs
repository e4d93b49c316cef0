//! Encryption and credentials: the settings, the files that they name, and the watches that follow those.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use super::credentials_file::{CredentialsFile, parse_credentials};
use super::effective::Effective;
use super::file_watch::{FileWatch, FromFiles, text};
use super::problem::{Problem, Problems, listed};
use crate::audit::{Change, Values};
use crate::clock::SystemClock;
use crate::domain::Clock;
use crate::server::{
    Auth, ClientCertificates, JWT_ALGORITHMS, Jwt, JwtKeys, JwtSettings, Security, Tls, TlsPart, TlsPem,
    TrustDomain,
};

const CERTIFICATE: &str = "tls.certificate_file";
const KEY: &str = "tls.key_file";
const CLIENT_CA: &str = "tls.client_ca_file";
const CLIENTS: &str = "tls.client_certificates";
const CREDENTIALS: &str = "auth.credentials_file";
const TRUST_DOMAIN: &str = "auth.trust_domain";
const JWKS: &str = "auth.jwks_file";
const ALGORITHMS: &str = "auth.jwt_algorithms";
const ISSUER: &str = "auth.jwt_issuer";
const AUDIENCE: &str = "auth.jwt_audience";

/// A watch of some files of the security settings.
pub type SecurityWatch = FileWatch<Box<dyn FromFiles>>;

/// What the security settings came to.
#[derive(Debug, Default)]
pub struct Secured {
    /// For the server.
    pub security: Security,
    /// To be run beside it.
    pub watches: Vec<SecurityWatch>,
}

/// What was made from files, and the watches of them.
type Followed<T> = (Arc<T>, Vec<SecurityWatch>);

/// One of the files could not be used: what is said of it is among the problems.
struct Refused;

impl Effective {
    /// Reads everything that encryption and credentials are made of.
    pub(super) fn secured(&self, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) -> Secured {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut secured = Secured::default();
        self.check_pairs(problems);
        if let Ok(Some((tls, watches))) = self.tls_in_force(&clock, problems, warnings) {
            secured.security.tls = Some(tls);
            secured.watches.extend(watches);
        }
        if let Ok(Some((auth, watches))) = self.auth(&clock, problems, warnings) {
            secured.security.auth = Some(auth);
            secured.watches.extend(watches);
        }
        secured
    }

    /// Whether calls are to be encrypted.
    pub(super) fn encrypts(&self) -> bool {
        self.is_set(CERTIFICATE)
    }

    /// Whether callers are to be asked for a credential.
    pub(super) fn asks_for_credentials(&self) -> bool {
        [CLIENT_CA, CREDENTIALS, JWKS].into_iter().any(|key| self.is_set(key))
    }

    /// What is set and means nothing without another.
    fn check_pairs(&self, problems: &mut Vec<Problem>) {
        for (present, missing) in [
            (CERTIFICATE, KEY),
            (KEY, CERTIFICATE),
            (CLIENT_CA, CERTIFICATE),
            (TRUST_DOMAIN, CLIENT_CA),
            (JWKS, ALGORITHMS),
            (JWKS, ISSUER),
            (JWKS, AUDIENCE),
            (ALGORITHMS, JWKS),
            (ISSUER, JWKS),
            (AUDIENCE, JWKS),
        ] {
            if self.is_set(present) && !self.is_set(missing) {
                problems.push(self.problem(present, None, format!("is set, and {missing} is not; set both")));
            }
        }
        if self.text(CLIENTS) == "required" && !self.is_set(CLIENT_CA) {
            let problem = format!("is required, and {CLIENT_CA} is not set; set it, or ask for none");
            problems.push(self.problem(CLIENTS, None, problem));
        }
        if self.is_set(CLIENT_CA) && !self.is_set(TRUST_DOMAIN) && !self.is_set(CREDENTIALS) {
            let problem = format!(
                "is set, and no certificate would stand for anybody; set {TRUST_DOMAIN}, or {CREDENTIALS} with \
                 [[certificate]] tables"
            );
            problems.push(self.problem(CLIENT_CA, None, problem));
        }
    }

    fn tls_in_force(
        &self,
        clock: &Arc<dyn Clock>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Followed<Tls>>, Refused> {
        let (Some(certificate), Some(key)) = (self.path(CERTIFICATE), self.path(KEY)) else {
            return Ok(None);
        };
        let paths: Vec<_> =
            [Some(certificate), Some(key), self.path(CLIENT_CA)].into_iter().flatten().collect();
        let paths: Vec<PathBuf> = paths.into_iter().cloned().collect();
        let keys = [CERTIFICATE, KEY, CLIENT_CA];
        let contents: Vec<_> = keys.iter().zip(&paths).map(|(key, _)| self.content(key, problems)).collect();
        let contents: Vec<_> = contents.into_iter().collect::<Result<_, _>>()?;
        let clients = match self.text(CLIENTS) {
            "required" => ClientCertificates::Required,
            _ => ClientCertificates::Optional,
        };
        let tls = Tls::new(pem(&contents), clients, clock.clone()).map_err(|found| {
            for (part, problem) in found {
                problems.push(self.of_file(setting(part), problem));
            }
            Refused
        })?;
        if let Some(trouble) = tls.trouble_with_time(pem(&contents)) {
            let path = certificate.display();
            warnings.push(format!("{CERTIFICATE} = \"{path}\" {trouble}: callers will refuse it"));
        }
        let tls = Arc::new(tls);
        let files = TlsFiles { tls: tls.clone(), paths: paths.clone() };
        Ok(Some((tls, vec![FileWatch::of(paths, &contents, Box::new(files))])))
    }

    /// Every kind of credential that is set up; none where nobody is asked for one.
    fn auth(
        &self,
        clock: &Arc<dyn Clock>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Followed<Auth>>, Refused> {
        let credentials = self.credentials_file(problems);
        let jwt = self.jwt(problems, warnings);
        let trust_domain = self.trust_domain(problems);
        let (credentials, jwt, trust_domain) = (credentials?, jwt?, trust_domain?);
        if !self.asks_for_credentials() {
            return Ok(None);
        }
        let mut auth = Auth::new(clock.clone());
        let mut contents = (None, None);
        if let Some(trust_domain) = trust_domain {
            auth = auth.with_trust_domain(trust_domain);
        }
        if let Some((path, content, file)) = credentials {
            let credentials = file.credentials();
            if credentials.counts() == (0, 0) {
                warnings.push(format!("{CREDENTIALS} = \"{}\" lets nobody in: it is empty", path.display()));
            }
            auth = auth.with_credentials(credentials);
            contents.0 = Some((path, content, file.values()));
        }
        if let Some((path, content, jwt)) = jwt {
            auth = auth.with_jwt(jwt);
            contents.1 = Some((path, content));
        }
        let auth = Arc::new(auth);
        let mut watches = Vec::new();
        if let Some((path, content, values)) = contents.0 {
            let (auth, changes) = (auth.clone(), Vec::new());
            let file: Box<dyn FromFiles> =
                Box::new(WatchedCredentials { auth, path: path.clone(), values, changes });
            watches.push(FileWatch::of(vec![path], &[content], file));
        }
        if let Some((path, content)) = contents.1 {
            let file: Box<dyn FromFiles> = Box::new(WatchedKeys { auth: auth.clone(), path: path.clone() });
            watches.push(FileWatch::of(vec![path], &[content], file));
        }
        Ok(Some((auth, watches)))
    }

    fn credentials_file(
        &self,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<(PathBuf, Vec<u8>, CredentialsFile)>, Refused> {
        let Some(path) = self.path(CREDENTIALS).cloned() else { return Ok(None) };
        let contents = vec![self.content(CREDENTIALS, problems)?];
        let name = path.display().to_string();
        match text(&path, &contents).and_then(|text| parse_credentials(&name, text)) {
            Ok(file) => Ok(Some((path, contents.concat(), file))),
            Err(found) => {
                problems.extend(found.0);
                Err(Refused)
            }
        }
    }

    fn jwt(
        &self,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<(PathBuf, Vec<u8>, Jwt)>, Refused> {
        let algorithms = self.algorithms(problems);
        let Some(path) = self.path(JWKS).cloned() else { return Ok(None) };
        let content = self.content(JWKS, problems)?;
        let (keys, passed_over) = JwtKeys::parse(&content).map_err(|problem| {
            problems.push(self.of_file(JWKS, problem));
            Refused
        })?;
        warnings.extend(passed_over.into_iter().map(|key| format!("{JWKS} = \"{}\": {key}", path.display())));
        let set = |key| self.is_set(key).then(|| self.text(key).to_owned()).ok_or(Refused);
        let settings = JwtSettings {
            algorithms: algorithms?,
            issuer: set(ISSUER)?,
            audience: set(AUDIENCE)?,
            subject_claim: self.text("auth.jwt_subject_claim").to_owned(),
            tenants_claim: self.text("auth.jwt_tenants_claim").to_owned(),
            roles_claim: self.text("auth.jwt_roles_claim").to_owned(),
            leeway: self.length("auth.jwt_leeway"),
        };
        Ok(Some((path, content, Jwt::new(settings, keys))))
    }

    fn algorithms<A: std::str::FromStr>(&self, problems: &mut Vec<Problem>) -> Result<Vec<A>, Refused> {
        if !self.is_set(ALGORITHMS) {
            return Err(Refused);
        }
        let written = self.text(ALGORITHMS);
        let read = |name: &str| JWT_ALGORITHMS.contains(&name).then(|| name.parse().ok()).flatten();
        let algorithms: Option<Vec<_>> = written.split(',').map(|name| read(name.trim())).collect();
        algorithms.ok_or_else(|| {
            let problem = format!("must name some of: {}; parted by commas", listed(JWT_ALGORITHMS));
            problems.push(self.problem(ALGORITHMS, Some(format!("{written:?}")), problem));
            Refused
        })
    }

    fn trust_domain(&self, problems: &mut Vec<Problem>) -> Result<Option<TrustDomain>, Refused> {
        if !self.is_set(TRUST_DOMAIN) {
            return Ok(None);
        }
        let written = self.text(TRUST_DOMAIN);
        TrustDomain::new(written).map(Some).map_err(|problem| {
            problems.push(self.problem(TRUST_DOMAIN, Some(format!("{written:?}")), problem));
            Refused
        })
    }

    /// What the file holds that a setting names.
    fn content(&self, key: &'static str, problems: &mut Vec<Problem>) -> Result<Vec<u8>, Refused> {
        let path = self.path(key).cloned().unwrap_or_default();
        std::fs::read(path).map_err(|error| {
            problems.push(self.of_file(key, format!("cannot be read: {error}")));
            Refused
        })
    }

    fn of_file(&self, key: &'static str, problem: impl Into<String>) -> Problem {
        let path = self.path(key).map(|path| format!("{:?}", path.display().to_string()));
        self.problem(key, path, problem)
    }
}

const fn setting(part: TlsPart) -> &'static str {
    match part {
        TlsPart::Certificate => CERTIFICATE,
        TlsPart::Key => KEY,
        TlsPart::ClientCa => CLIENT_CA,
    }
}

/// The contents of the files, in the order of the parts.
fn pem(contents: &[Vec<u8>]) -> TlsPem<'_> {
    let content = |place: usize| contents.get(place).map(Vec::as_slice);
    TlsPem {
        certificate: content(0).unwrap_or_default(),
        key: content(1).unwrap_or_default(),
        client_ca: content(2),
    }
}

#[derive(Debug)]
struct TlsFiles {
    tls: Arc<Tls>,
    paths: Vec<PathBuf>,
}

impl FromFiles for TlsFiles {
    fn words(&self) -> (&'static str, &'static str) {
        ("the TLS certificate", "the certificate in force")
    }

    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems> {
        self.tls.replace(pem(contents)).map_err(|found| {
            let place = |part| match part {
                TlsPart::Certificate => 0,
                TlsPart::Key => 1,
                TlsPart::ClientCa => 2,
            };
            let problem = |(part, problem)| of_path(&self.paths[place(part)], problem);
            Problems(found.into_iter().map(problem).collect())
        })
    }
}

#[derive(Debug)]
struct WatchedCredentials {
    auth: Arc<Auth>,
    path: PathBuf,
    /// What is in force.
    values: Values,
    changes: Vec<Change>,
}

impl FromFiles for WatchedCredentials {
    fn words(&self) -> (&'static str, &'static str) {
        ("the credentials file", "the set of credentials in force")
    }

    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems> {
        let file = parse_credentials(&self.path.display().to_string(), text(&self.path, contents)?)?;
        self.auth.replace_credentials(file.credentials());
        let before = std::mem::replace(&mut self.values, file.values());
        self.changes = Change::between(&before, &self.values);
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

#[derive(Debug)]
struct WatchedKeys {
    auth: Arc<Auth>,
    path: PathBuf,
}

impl FromFiles for WatchedKeys {
    fn words(&self) -> (&'static str, &'static str) {
        ("the JWKS file", "the set of keys in force")
    }

    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems> {
        let content = contents.first().map(Vec::as_slice).unwrap_or_default();
        let (keys, passed_over) =
            JwtKeys::parse(content).map_err(|problem| Problems(vec![of_path(&self.path, problem)]))?;
        for key in passed_over {
            warn!(file = %self.path.display(), "{key}");
        }
        self.auth.replace_jwt_keys(keys);
        Ok(())
    }
}

fn of_path(path: &std::path::Path, problem: String) -> Problem {
    let origin = path.display().to_string();
    Problem { origin, line: None, field: String::new(), value: None, problem }
}
