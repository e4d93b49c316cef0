//! Until when, and in which form, tokens and certificates stand for somebody.

use std::time::Duration;

use crate::caller::Caller;
use crate::support::log::Log;
use crate::world::{World, mapped_uri, parsed, token, token_table};

#[tokio::test]
async fn a_token_ends_when_it_expires_or_is_revoked() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let call = async |name: &str| world.bearer(&token(name)).await.call("Begin", "alpha").await;
    for name in ["expired", "revoked", "nobody"] {
        assert_eq!(call(name).await, "CREDENTIAL_INVALID", "{name}");
    }
    assert_eq!(call("expiring").await, "OK");
    world.server.clock.advance(Duration::from_hours(24));
    assert_eq!(call("expiring").await, "CREDENTIAL_INVALID");
    assert_eq!(call("alpha-client").await, "OK");

    // A file that has changed counts for the next call, on connections that are open, too.
    let open = world.bearer(&token("alpha-client")).await;
    let mapped = world.certificate(&[&mapped_uri("beta", "client")]).await;
    assert_eq!((open.call("Begin", "").await, mapped.call("Begin", "").await), ("OK".into(), "OK".into()));
    world.auth.replace_credentials(parsed(&token_table("late", "[\"alpha\"]", "client", "")));
    assert_eq!(open.call("Begin", "").await, "CREDENTIAL_INVALID");
    assert_eq!(mapped.call("Begin", "").await, "CREDENTIAL_INVALID");
    assert_eq!(call("late").await, "OK");

    let text = log.text();
    for (cause, who) in [
        ("expired", "token:expired"),
        ("revoked", "token:revoked"),
        ("unknown", ""),
        ("expired", "token:expiring"),
        ("its URI stands for nobody", &mapped_uri("beta", "client")),
    ] {
        let line = text.lines().find(|line| line.contains(cause) && line.contains(who));
        assert!(line.is_some_and(|line| line.contains("peer=127.0.0.1:")), "{cause} {who} in:\n{text}");
    }
    assert!(!text.contains("semel_"), "a token is in the log:\n{text}");
}

#[tokio::test]
async fn certificates_stand_for_somebody_only_in_the_form() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let alpha = "spiffe://example.org/tenant/alpha/role/client";
    for (uris, expected) in [
        (&[alpha][..], "OK"),
        (&["spiffe://mesh.example/any/thing"], "OK"),
        (&[], "CREDENTIAL_INVALID"),
        (&[alpha, "spiffe://example.org/tenant/beta/role/client"], "CREDENTIAL_INVALID"),
        (&["spiffe://other.org/tenant/alpha/role/client"], "CREDENTIAL_INVALID"),
        (&["spiffe://example.org/tenant/alpha/role/admin"], "CREDENTIAL_INVALID"),
        (&["spiffe://mesh.example/anything"], "CREDENTIAL_INVALID"),
    ] {
        assert_eq!(world.certificate(uris).await.call("Begin", "alpha").await, expected, "{uris:?}");
    }
    // A connection may outlive the certificate that it began with.
    let short = world.authority.client_of(&[alpha], (2020, 2028));
    let caller = Caller { channel: world.channel(Some(&short)).await, authorization: Vec::new() };
    assert_eq!(caller.call("Begin", "alpha").await, "OK");
    world.server.clock.advance(Duration::from_hours(24 * 365));
    assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    let text = log.text();
    for cause in
        ["has no URI", "more than one URI", "stands for nobody", "expired since the connection was made"]
    {
        assert!(text.contains(cause), "{cause} in:\n{text}");
    }
}

/// Refusals cost a stranger nothing, so what they fill must be bounded.
#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let caller = world.bearer("semel_guess").await;
    for _ in 0..100 {
        assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    }
    let lines = |text: &str, part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines(&log.text(), "a call was refused for its credential"), 20);
    world.server.clock.advance(Duration::from_secs(1));
    assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    let text = log.text();
    assert_eq!(lines(&text, "a call was refused for its credential"), 21);
    assert!(text.contains("calls=80"), "{text}");
}
