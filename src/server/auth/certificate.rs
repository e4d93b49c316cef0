//! Client certificates: whom one stands for, by its URI.

use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::Rejection;
use crate::domain::Pattern;
use crate::server::caller::{Identity, Role};

/// The names of certificates that speak for themselves:
/// `spiffe://TRUST_DOMAIN/tenant/TENANT/role/ROLE`.
#[derive(Clone, Debug)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Letters, digits, dots, dashes and underscores, as SPIFFE has it; capitals count as small letters.
    pub fn new(name: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty() || name.len() > 255 || !name.bytes().all(allowed) {
            return Err(r#"is no SPIFFE trust domain; write a name such as "example.org""#.to_owned());
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// Whom `uri` stands for, where it has the form.
    fn identity(&self, uri: &str) -> Option<Identity> {
        let (scheme, rest) = uri.split_once("://")?;
        let mut parts = rest.split('/');
        let domain = parts.next()?;
        if !scheme.eq_ignore_ascii_case("spiffe") || !domain.eq_ignore_ascii_case(&self.0) {
            return None;
        }
        let path: Vec<_> = parts.collect();
        let &["tenant", tenant, "role", role] = &path[..] else { return None };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if tenant.is_empty() || [".", ".."].contains(&tenant) || !tenant.bytes().all(allowed) {
            return None;
        }
        let role = Role::named(role)?;
        Some(Identity::new(uri.to_owned(), vec![Pattern::Exact(tenant.to_owned())], vec![role]))
    }
}

/// What matters of a certificate that the handshake has verified.
#[derive(Debug)]
pub(in crate::server) struct PeerCertificate {
    uri: Result<String, &'static str>,
    /// Whom the URI stands for by its form alone.
    by_form: Option<Arc<Identity>>,
    /// The last second in which it is valid.
    not_after: i64,
}

impl PeerCertificate {
    /// Reads `der`. A certificate that cannot be read stands for nobody.
    pub(in crate::server) fn read(der: &[u8], trusted: Option<&TrustDomain>) -> Self {
        let Ok((_, certificate)) = parse_x509_certificate(der) else {
            return Self { uri: Err("the certificate cannot be read"), by_form: None, not_after: i64::MIN };
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut uris =
            names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            });
        let uri = match (uris.next(), uris.next()) {
            (Some(uri), None) => Ok(uri.to_owned()),
            (Some(_), Some(_)) => Err("the certificate has more than one URI"),
            (None, _) => Err("the certificate has no URI"),
        };
        let by_form = uri.as_deref().ok().zip(trusted).and_then(|(uri, trusted)| trusted.identity(uri));
        Self { uri, by_form: by_form.map(Arc::new), not_after: certificate.validity().not_after.timestamp() }
    }

    /// Its URI, if it is still valid: a connection may outlive the certificate that it began with.
    pub(super) fn valid_uri(&self, now: i64) -> Result<&str, Rejection> {
        let uri = self.uri.as_deref().map_err(|cause| Rejection::of("certificate", cause))?;
        if now > self.not_after {
            return Err(Rejection::of("certificate", "expired since the connection was made").about(uri));
        }
        Ok(uri)
    }

    pub(super) fn by_form(&self) -> Option<&Arc<Identity>> {
        self.by_form.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Tenant;

    #[test]
    fn only_the_whole_form_stands_for_somebody() {
        let trusted = TrustDomain::new("Example.org").unwrap();
        let shop = trusted.identity("spiffe://example.ORG/tenant/shop-1.eu_x/role/client").unwrap();
        let caller = crate::server::Caller::known(Arc::new(shop.clone()));
        assert_eq!(caller.only_tenant(), Some(&Tenant::new("shop-1.eu_x").unwrap()));
        assert!(shop.has_one_of(&[Role::Client]) && !shop.has_one_of(&[Role::Reader, Role::Operator]));
        for other in [
            "spiffe://example.com/tenant/shop/role/client",
            "spiffe://example.org.evil/tenant/shop/role/client",
            "spiffe://example.org/tenant/shop/role/root",
            "spiffe://example.org/tenant/shop/role/client/",
            "spiffe://example.org/tenant/shop/role/client/x",
            "spiffe://example.org/x/tenant/shop/role/client",
            "spiffe://example.org/tenant//role/client",
            "spiffe://example.org/tenant/*/role/client",
            "spiffe://example.org/tenant/a%2Fb/role/client",
            "spiffe://example.org/tenant/../role/client",
            "spiffe://example.org/tenant/shop/role",
            "spiffe://example.org/tenant/shop",
            "spiffe://example.org",
            "https://example.org/tenant/shop/role/client",
            "example.org/tenant/shop/role/client",
            "",
        ] {
            assert!(trusted.identity(other).is_none(), "{other}");
        }
        for bad in ["", "a/b", "a b", "é.org"] {
            assert!(TrustDomain::new(bad).is_err(), "{bad}");
        }
    }
}
