//! A store that fails in every way, and panics: on the paths of bugs and of trouble nothing is let out either.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use semel::coordinator::Settings;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::storage::memory;
use semel::storage::metered::Metered;
use semel::telemetry::{self, KeyHash, Names, Telemetry};
use tracing::Level;

use crate::caller::Caller;
use crate::planted::Planted;
use crate::scripted_store::{Script, ScriptedStore};
use crate::server::{Start, TestClock};
use crate::support::count;

/// Keeps what it is handed.
#[derive(Clone, Debug)]
struct Kept<T>(Arc<Mutex<Vec<T>>>);

impl SpanExporter for Kept<SpanData> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Write for Kept<u8> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_store_that_fails_or_panics_lets_out_nothing() {
    let (planted, log, spans) =
        (Planted::default(), Kept::<u8>(Arc::default()), Kept::<SpanData>(Arc::default()));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);

    let store = ScriptedStore::new();
    let names = Names { key_hash: KeyHash::new(b"test"), store: memory::NAME };
    let settings = telemetry::Settings::default();
    let telemetry = Arc::new(Telemetry::tracing_to(spans.clone(), &settings, names, TestClock::new()));
    let metered = Arc::new(Metered::telling(store.clone(), telemetry.clone()));
    let settings = Settings { settle_within: Duration::from_millis(40), ..Settings::default() };
    let server = Start { settings, telemetry, ..Start::on(metered) }.serve().await;
    let mut caller = Caller::connect(&format!("http://{}", server.grpc), planted.clone()).await;

    let known = caller.key("rerun/any");
    let fence = caller.started(caller.begin_of(&known, 1)).await;
    // What a panic says may have been put together from anything.
    for (script, reason, cause) in [
        (Script::Refuse, "STORE_UNAVAILABLE", "the disk is gone".to_owned()),
        (Script::LoseAnswers, "STORE_OUTCOME_UNKNOWN", "the answer is lost".to_owned()),
        (Script::Panic, "INTERNAL", planted.plant("the text of a panic")),
    ] {
        store.blame(&cause);
        store.play(script);
        let fresh = caller.key("rerun/any");
        let answer = caller.client.begin(caller.begin_of(&fresh, 1)).await;
        caller.fails(reason, answer);
        let answer = caller.client.complete(caller.complete_of(&known, 1, fence)).await;
        caller.ends(answer);
        let answer = caller.client.abort(caller.abort_of(&fresh, 1, 1, Disposition::Release)).await;
        caller.ends(answer);
        let answer = caller.client.lookup(proto::LookupRequest { key: Some(fresh) }).await;
        caller.ends(answer);
    }
    server.telemetry.shut_down();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let spans = format!("{:?}", spans.0.lock().unwrap());
    assert!(log.contains("a call panicked: this is a bug") && log.contains("not shown"), "{log}");
    assert!(spans.contains("INTERNAL") && spans.contains("STORE_OUTCOME_UNKNOWN"));
    let mut found = planted.found_in("the log", log.as_bytes());
    found.extend(planted.found_in("a trace", spans.as_bytes()));
    found.extend(planted.found_in("an error", caller.errors.as_bytes()));
    assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
    count("canaries", planted.count());
    count("canary_paths", caller.paths);
}
