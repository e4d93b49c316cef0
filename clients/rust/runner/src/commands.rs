//! The commands of the driver.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use semel_client::proto::{Key, RenewRequest};
use semel_client::testing::{Call, Fake};
use semel_client::{BoxError, CancellationToken, Client, ClientOptions, Codec, Handoff, Protobuf, RawBytes};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::batch::{self, Held};
use crate::options::{length, meaning_of, once_options, request_of, scripted};
use crate::results::{error_fields, fields_of, result, say};
use crate::values::{Json, PlainText, Returned, Text};
use crate::work::{Gates, Scene, run};

#[derive(Default)]
pub(crate) struct Runner {
    clients: HashMap<String, Client>,
    fakes: HashMap<String, Fake>,
    cancellations: HashMap<String, CancellationToken>,
    gates: Gates,
    held: Arc<Mutex<Held>>,
    calls: JoinSet<()>,
}

fn text<'a>(command: &'a Value, name: &str) -> &'a str {
    command[name].as_str().unwrap_or_default()
}

/// The result of a call that gives nothing.
fn done(call: &str, ended: Result<(), Value>) -> Value {
    match ended {
        Ok(()) => json!({ "event": "result", "call": call, "ok": {} }),
        Err(fields) => json!({ "event": "result", "call": call, "error": fields }),
    }
}

impl Runner {
    pub(crate) async fn carry_out(&mut self, command: &Value) -> Result<(), BoxError> {
        let call = text(command, "call").to_owned();
        match text(command, "do") {
            "open" => self.open(command)?,
            "close" => {
                self.client(command)?.close().await;
                say(&json!({ "event": "closed", "client": command["client"] }));
            }
            "once" | "resume" => match command["options"]["codec"].as_str().unwrap_or("json") {
                "json" => self.once::<Json, _>(command, semel_client::Json)?,
                "bytes" => self.once::<Vec<u8>, _>(command, RawBytes)?,
                "protobuf" => self.once::<String, _>(command, Protobuf::<String>::new())?,
                "text" => self.once::<Text, _>(command, PlainText)?,
                other => return Err(format!("no codec is called {other}").into()),
            },
            "complete_handoff" => self.complete_handoff(command, call)?,
            "renew" => self.renew(command, call)?,
            "batch_begin" => {
                let (client, held, command) =
                    (self.client(command)?, Arc::clone(&self.held), command.clone());
                self.calls.spawn(async move { batch::begin(&client, &held, &command).await });
            }
            "batch_complete" => {
                let (client, held, command) =
                    (self.client(command)?, Arc::clone(&self.held), command.clone());
                self.calls.spawn(async move { batch::complete(&client, &held, &command).await });
            }
            "cancel" => self.cancellations.get(&call).ok_or("no such call")?.cancel(),
            "gate" => self.gates.named(text(command, "gate")).cancel(),
            "recorded" => {
                let fake = self.fakes.get(text(command, "client")).ok_or("this client is no fake")?;
                let shown =
                    |call: Call| json!({ "method": call.method, "endpoint": call.endpoint, "key": call.key });
                let calls: Vec<_> = fake.calls().into_iter().map(shown).collect();
                say(&json!({ "event": "recorded", "client": command["client"], "calls": calls }));
            }
            other => return Err(format!("no command is called {other}").into()),
        }
        Ok(())
    }

    /// Ends when all calls have.
    pub(crate) async fn end(mut self) {
        while self.calls.join_next().await.is_some() {}
        for client in self.clients.values() {
            client.close().await;
        }
    }

    fn client(&self, command: &Value) -> Result<Client, BoxError> {
        Ok(self.clients.get(text(command, "client")).ok_or("no such client")?.clone())
    }

    fn open(&mut self, command: &Value) -> Result<(), BoxError> {
        let name = text(command, "client").to_owned();
        let given = &command["options"];
        let mut options = ClientOptions::new();
        if let Some(tenant) = given["tenant"].as_str() {
            options = options.tenant(tenant);
        }
        if let Some(token) = given["token"].as_str() {
            options = options.token(token);
        }
        if let Some(timeout) = length(given, "timeout_ms") {
            options = options.timeout(timeout);
        }
        if let Some(timeout) = length(given, "try_timeout_ms") {
            options = options.try_timeout(timeout);
        }
        if let Some(timeout) = length(given, "report_timeout_ms") {
            options = options.report_timeout(timeout);
        }
        if let Some(meaning) = given["on_unexpected"].as_str() {
            options = options.on_unexpected(meaning_of(meaning)?);
        }
        let client = if let Some(scripts) = command["fake"].as_array() {
            let fake = Fake::new();
            for script in scripts {
                let decisions = script["decisions"].as_array().ok_or("a script has decisions")?;
                let decisions = decisions.iter().map(scripted).collect::<Result<Vec<_>, _>>()?;
                fake.script(text(script, "endpoint"), text(script, "key"), decisions);
            }
            let client = fake.client_with(options)?;
            self.fakes.insert(name.clone(), fake);
            client
        } else {
            Client::new(options.address(text(command, "address")))?
        };
        self.clients.insert(name.clone(), client);
        say(&json!({ "event": "opened", "client": name }));
        Ok(())
    }

    fn once<T: Returned, C: Codec<T> + 'static>(
        &mut self,
        command: &Value,
        codec: C,
    ) -> Result<(), BoxError> {
        let call = text(command, "call").to_owned();
        let cancellation = CancellationToken::new();
        self.cancellations.insert(call.clone(), cancellation.clone());
        let options = once_options(&command["options"])?.codec(codec).cancelled_by(cancellation);
        let client = self.client(command)?;
        let steps = command["work"].as_array().cloned().ok_or("a work has steps")?;
        let scene = Scene { call: call.clone(), client: client.clone(), gates: self.gates.clone(), steps };
        let work = async move |attempt| run::<T>(scene, attempt).await;
        if let Some(handoff) = command["handoff"].as_str() {
            let handoff: Result<Handoff, _> = handoff.parse();
            self.calls.spawn(async move {
                match handoff {
                    Ok(handoff) => say(&result(&call, &client.resume_with(options, handoff, work).await)),
                    Err(error) => {
                        say(&json!({ "event": "result", "call": call, "error": fields_of(&error) }));
                    }
                }
            });
            return Ok(());
        }
        let request = request_of(&command["request"])?;
        let (endpoint, key) = (text(command, "endpoint").to_owned(), text(command, "key").to_owned());
        self.calls.spawn(async move {
            say(&result(&call, &client.once_with(options, &endpoint, key, request, work).await));
        });
        Ok(())
    }

    fn complete_handoff(&mut self, command: &Value, call: String) -> Result<(), BoxError> {
        let client = self.client(command)?;
        let handoff: Result<Handoff, _> = text(command, "handoff").parse();
        let value = Json::of(&command["value"])?;
        self.calls.spawn(async move {
            let ended = match handoff {
                Ok(handoff) => {
                    client.complete_handoff(handoff, value).await.map_err(|error| error_fields(&error))
                }
                Err(error) => Err(fields_of(&error)),
            };
            say(&done(&call, ended));
        });
        Ok(())
    }

    /// The plain method.
    fn renew(&mut self, command: &Value, call: String) -> Result<(), BoxError> {
        let client = self.client(command)?;
        let owner: Value = serde_json::from_str(text(command, "handoff"))?;
        let request = RenewRequest {
            key: Some(Key {
                tenant: text(&owner, "tenant").to_owned(),
                endpoint: text(&owner, "endpoint").to_owned(),
                idempotency_key: text(&owner, "key").to_owned(),
            }),
            fence: owner["fence"].as_i64().unwrap_or_default(),
            attempt_id: text(&owner, "attempt_id").to_owned(),
            lease: length(command, "lease_ms").map(TryInto::try_into).transpose()?,
        };
        self.calls.spawn(async move {
            let ended = client.renew(request).await.map(drop).map_err(|error| fields_of(&error));
            say(&done(&call, ended));
        });
        Ok(())
    }
}
