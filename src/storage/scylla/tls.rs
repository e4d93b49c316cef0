//! TLS to the nodes, from files in PEM form.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::connect_error::ConnectError;
use super::settings::{ClientCertificate, Tls};

/// The driver's part of it.
pub(super) fn config(tls: &Tls) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Database { doing: "setting up TLS", cause: error.to_string() })?
        .with_root_certificates(roots(tls)?);
    let Some(client) = &tls.client else { return Ok(config.with_no_client_auth()) };
    config.with_client_auth_cert(certificates(&client.certificate)?, key(client)?).map_err(|error| {
        let key = client.key.display();
        file(&client.certificate, format!("does not belong to the key in {key}: {error}"))
    })
}

/// What is wrong with each file; with two of them together, where each is sound.
pub(super) fn problems(tls: &Tls) -> Vec<(PathBuf, String)> {
    let mut errors: Vec<_> = roots(tls).err().into_iter().collect();
    if let Some(client) = &tls.client {
        errors.extend(certificates(&client.certificate).err());
        errors.extend(key(client).err());
    }
    if errors.is_empty() {
        errors.extend(config(tls).err());
    }
    let of_file = |error| match error {
        ConnectError::TlsFile { path, problem } => (path, problem),
        other => (tls.ca.clone(), other.to_string()),
    };
    errors.into_iter().map(of_file).collect()
}

fn roots(tls: &Tls) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .map_err(|error| file(&tls.ca, format!("holds no certificate of an authority: {error}")))?;
    }
    Ok(roots)
}

fn key(client: &ClientCertificate) -> Result<PrivateKeyDer<'static>, ConnectError> {
    PrivateKeyDer::from_pem_file(&client.key)
        .map_err(|error| file(&client.key, format!("cannot be read as a private key in PEM form: {error}")))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let unreadable = |error| file(path, format!("cannot be read as a certificate in PEM form: {error}"));
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if found.is_empty() {
        return Err(file(path, "holds no certificate in PEM form; it must hold at least one".to_owned()));
    }
    Ok(found)
}

fn file(path: &Path, problem: String) -> ConnectError {
    ConnectError::TlsFile { path: path.to_owned(), problem }
}
