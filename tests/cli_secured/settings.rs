//! Settings of encryption and credentials that do not go together, or whose files are no such files.

use crate::files::Files;

#[test]
fn everything_wrong_with_encryption_and_credentials_is_said_at_once() {
    let files = Files::new();
    files.write("garbage", "two words of garbage");
    files.write(
        "bad.toml",
        "[[token]]\nname = \"a\"\nsha256 = \"semel_secret\"\ntenants = []\nroles = [\"admin\"]\nexpires = \"soon\"\n\
         [[certificate]]\nuri = \"a*b\"\ntenants = [\"t\"]\nroles = [\"client\"]\nnmae = \"x\"\n[tokens]\n",
    );
    let (status, said) = files.check(&[
        "--tls-certificate-file",
        "garbage",
        "--tls-key-file",
        "missing",
        "--tls-client-ca-file",
        "server-key.pem",
        "--auth-credentials-file",
        "bad.toml",
        "--auth-trust-domain",
        "a/b",
        "--auth-jwks-file",
        "garbage",
        "--auth-jwt-algorithms",
        "ES256,HS256",
        "--auth-jwt-issuer",
        "i",
        "--max-waiters",
        "many",
    ]);
    assert_eq!(status, Some(3), "{said}");
    for part in [
        "--tls-key-file: tls.key_file = \"missing\" cannot be read: No such file",
        "--auth-trust-domain: auth.trust_domain = \"a/b\" is no SPIFFE trust domain",
        "--auth-jwks-file: auth.jwks_file = \"garbage\" is not JSON",
        "--auth-jwks-file: auth.jwks_file is set, and auth.jwt_audience is not; set both",
        "--auth-jwt-algorithms: auth.jwt_algorithms = \"ES256,HS256\" must name some of: RS256, ",
        "--max-waiters: max_waiters = many is not a whole number",
        "bad.toml:3: token 1: sha256 is not the 64 hexadecimal digits",
        "bad.toml:4: token 1: tenants must be a list of texts, and not empty",
        "bad.toml:5: token 1: roles has \"admin\", which is no role (known: client, reader, operator)",
        "bad.toml:6: token 1: expires is no moment in UTC",
        "bad.toml:8: certificate 1: uri has a * before its end",
        "bad.toml:11: certificate 1: nmae is not known here",
        "bad.toml:12: tokens is not known here; did you mean token?",
    ] {
        assert!(said.contains(part), "{part}\nin:\n{said}");
    }
    assert!(
        !said.contains("semel_secret") && !said.contains("two words"),
        "what a file holds is told:\n{said}"
    );
}

#[test]
fn files_that_do_not_fit_and_settings_that_need_others_are_refused() {
    let files = Files::new();
    files.write("garbage", "two words of garbage");
    // Files that can be read, and are not what they should be.
    let (_, said) = files.check(&[
        "--tls-certificate-file",
        "garbage",
        "--tls-key-file",
        "ca.pem",
        "--tls-client-ca-file",
        "server-key.pem",
        "--auth-trust-domain",
        "a",
    ]);
    for part in [
        "tls.certificate_file = \"garbage\" holds no certificate in PEM form",
        "tls.key_file = \"ca.pem\" holds no private key in PEM form",
        "tls.client_ca_file = \"server-key.pem\" holds no certificate in PEM form",
    ] {
        assert!(said.contains(part), "{part}\nin:\n{said}");
    }
    for (arguments, part) in [
        (
            &["--tls-certificate-file", "server.pem"][..],
            "tls.certificate_file is set, and tls.key_file is not",
        ),
        (&["--tls-key-file", "server-key.pem"], "tls.key_file is set, and tls.certificate_file is not"),
        (&["--tls-client-certificates", "required"], "is required, and tls.client_ca_file is not set"),
        (&["--auth-trust-domain", "a"], "auth.trust_domain is set, and tls.client_ca_file is not"),
        (&["--auth-jwt-issuer", "a"], "auth.jwt_issuer is set, and auth.jwks_file is not"),
        (
            &["--tls-certificate-file", "server.pem", "--tls-key-file", "client-key.pem"],
            "tls.key_file = \"client-key.pem\" does not belong to the certificate",
        ),
        (
            &[
                "--tls-certificate-file",
                "server.pem",
                "--tls-key-file",
                "server-key.pem",
                "--tls-client-ca-file",
                "ca.pem",
            ],
            "no certificate would stand for anybody",
        ),
    ] {
        let (status, said) = files.check(arguments);
        assert_eq!(status, Some(3), "{arguments:?}: {said}");
        assert!(said.contains(part), "{part}\nin:\n{said}");
    }
}

/// Beyond loopback: both, or somebody who says that neither is needed.
#[test]
fn listening_beyond_loopback_takes_encryption_and_credentials() {
    let files = Files::new();
    let encrypted = ["--tls-certificate-file", "server.pem", "--tls-key-file", "server-key.pem"];
    let credentials = ["--auth-credentials-file", "credentials.toml"];
    let public = ["--listen", "0.0.0.0:7400"];
    for (arguments, part) in [
        ([&public[..], &encrypted[..]].concat(), "asks for no credential"),
        ([&public[..], &credentials[..]].concat(), "does not encrypt them"),
        (public.to_vec(), "neither encrypts them"),
        (
            [&["--ops-listen", "0.0.0.0:1"][..], &encrypted[..], &credentials[..]].concat(),
            "is never encrypted",
        ),
    ] {
        let (status, said) = files.check(&arguments);
        assert!(status == Some(3) && said.contains(part), "{arguments:?}: {said}");
        assert_eq!(files.check(&[&arguments[..], &["--insecure"][..]].concat()).0, Some(0));
    }
    assert_eq!(files.check(&[&public[..], &encrypted[..], &credentials[..]].concat()).0, Some(0));
}

/// Whoever replaces it needs no restart then.
#[test]
fn an_expired_certificate_is_no_reason_not_to_start() {
    let files = Files::new();
    files.write_pair("expired", &files.authority.server_of((1990, 2020)));
    let expired = ["--tls-certificate-file", "expired.pem", "--tls-key-file", "expired-key.pem"];
    let (status, said) = files.check(&expired);
    assert_eq!(status, Some(0));
    assert!(said.contains("expired at") && said.contains("callers will refuse it"), "{said}");
}
