//! A stand-in between a store and its nodes: counts what a key costs, and forges what becomes of its writes.
//!
//! It speaks as much of CQL's binary protocol (version 4) as it takes to see which prepared statement is executed for
//! which key. Everything else passes as it is.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use semel::storage::scylla::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const ERROR: u8 = 0x00;
const RESULT: u8 = 0x08;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;
const RESULT_PREPARED: i32 = 4;
const RESPONSE: u8 = 0x80;
const HEADER: usize = 9;

/// What a node may say of a conditional write instead of answering it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Too little time to agree on it.
    CasTimeout,
    /// Agreed, and too little time to write it everywhere.
    SimpleTimeout,
    /// Too few replicas to begin.
    Unavailable,
    /// Too few replicas to write what was agreed.
    UnavailableToCommit,
}

/// What becomes of one conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node is not asked, and says this.
    Refused(Said),
    /// The node does it, and says this.
    Done(Said),
    /// The connection breaks once the request was written to it. The node never saw it.
    CutUnseen,
    /// The connection breaks once the node has done it.
    CutDone,
    /// The node does it, and its answer arrives only when the key is written again.
    LateAnswer,
    /// It reaches the node only after the key was written again.
    LateRequest,
}

/// What was asked for one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) transactions: u64,
    pub(crate) reads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statement {
    /// A conditional write of a record.
    Transaction,
    /// A read of a record.
    Read,
}

#[derive(Debug, Default)]
struct OfKey {
    asked: Asked,
    /// Conditional writes that a node answered, not those that were held back.
    done: u64,
    armed: VecDeque<Fault>,
    /// Requests and answers that are held back.
    held: u64,
    /// Nothing is held back any more.
    released: bool,
}

#[derive(Debug, Default)]
struct Shared {
    statements: Mutex<HashMap<Vec<u8>, Statement>>,
    keys: Mutex<HashMap<String, OfKey>>,
    changed: watch::Sender<u64>,
}

/// One stand-in for each node.
#[derive(Debug)]
pub(crate) struct Wire {
    shared: Arc<Shared>,
    /// From a node's address to its stand-in's.
    stand_ins: Vec<(SocketAddr, SocketAddr)>,
    _listening: Vec<AbortOnDropHandle<()>>,
}

impl Wire {
    /// Stands before each of `nodes`, on an address beside the node's: drivers take the port from whom they met first.
    pub(crate) async fn before(nodes: &[String]) -> Self {
        let shared = Arc::new(Shared::default());
        let (mut stand_ins, mut listening) = (Vec::new(), Vec::new());
        for node in nodes {
            let node: SocketAddr = node.parse().expect("an address");
            let listener = beside(node).await;
            stand_ins.push((node, listener.local_addr().expect("it is bound")));
            listening.push(AbortOnDropHandle::new(tokio::spawn(listen(listener, node, shared.clone()))));
        }
        Self { shared, stand_ins, _listening: listening }
    }

    /// The same database, through here.
    pub(crate) fn through(&self, settings: &Settings) -> Settings {
        Settings {
            nodes: self.stand_ins.iter().map(|(_, here)| here.to_string()).collect(),
            translated: self.stand_ins.iter().copied().collect(),
            ..settings.clone()
        }
    }

    pub(crate) fn asked(&self, key: &str) -> Asked {
        self.shared.of_key(key, |of_key| of_key.asked)
    }

    /// What was asked since `before`.
    pub(crate) fn asked_since(&self, key: &str, before: Asked) -> Asked {
        let now = self.asked(key);
        Asked { transactions: now.transactions - before.transactions, reads: now.reads - before.reads }
    }

    /// One fault for each of the next conditional writes of `key`.
    pub(crate) fn arm(&self, key: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared.of_key(key, |of_key| of_key.armed = faults.into_iter().collect());
    }

    /// How many faults were not met, which are not any more.
    pub(crate) fn disarm(&self, key: &str) -> usize {
        self.shared.of_key(key, |of_key| std::mem::take(&mut of_key.armed).len())
    }

    /// Holds nothing of `key` back any more, and waits until what was is answered.
    pub(crate) async fn deliver(&self, key: &str) {
        self.shared.of_key(key, |of_key| of_key.released = true);
        self.shared.until(key, |of_key| of_key.held == 0).await;
    }
}

/// A listener on the node's port, on an address that differs from its own in the last part alone.
async fn beside(node: SocketAddr) -> TcpListener {
    let SocketAddr::V4(address) = node else { panic!("{node} is not of IPv4") };
    let [a, b, c, _] = address.ip().octets();
    for last in 10..=254 {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::new(a, b, c, last), node.port())).await {
            return listener;
        }
    }
    panic!("no address beside {node} is free")
}

impl Shared {
    fn of_key<A>(&self, key: &str, look: impl FnOnce(&mut OfKey) -> A) -> A {
        let answer = look(locked(&self.keys).entry(key.to_owned()).or_default());
        self.changed.send_modify(|changes| *changes += 1);
        answer
    }

    async fn until(&self, key: &str, mut holds: impl FnMut(&OfKey) -> bool) {
        let mut changes = self.changed.subscribe();
        changes
            .wait_for(|_| locked(&self.keys).get(key).is_none_or(&mut holds))
            .await
            .expect("whoever changes it is here");
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(listener: TcpListener, node: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(Connection::serve(client, node, shared.clone()));
    }
}

/// What the answer on a stream is to.
#[derive(Debug)]
enum Awaited {
    Prepared(Statement),
    Transaction { key: String, fault: Option<Fault>, held: Option<Held> },
    Late { _held: Held },
}

/// A request or an answer of a key that is held back, until this is dropped.
#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    key: String,
}

impl Held {
    fn new(shared: &Arc<Shared>, key: &str) -> Self {
        shared.of_key(key, |of_key| of_key.held += 1);
        Self { shared: shared.clone(), key: key.to_owned() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.of_key(&self.key, |of_key| of_key.held -= 1);
    }
}

#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    awaited: Mutex<HashMap<i16, Awaited>>,
    to_client: mpsc::UnboundedSender<Bytes>,
    to_node: mpsc::UnboundedSender<Bytes>,
    cut: CancellationToken,
}

impl Connection {
    async fn serve(client: TcpStream, node: SocketAddr, shared: Arc<Shared>) {
        let Ok(node) = TcpStream::connect(node).await else { return };
        let (from_client, client) = client.into_split();
        let (from_node, node) = node.into_split();
        let (to_client, for_client) = mpsc::unbounded_channel();
        let (to_node, for_node) = mpsc::unbounded_channel();
        let awaited = Mutex::default();
        let cut = CancellationToken::new();
        let here = Arc::new(Self { shared, awaited, to_client, to_node, cut: cut.clone() });
        tokio::select! {
            () = here.requests(from_client) => {}
            () = here.answers(from_node) => {}
            () = pass_on(for_client, client) => {}
            () = pass_on(for_node, node) => {}
            () = cut.cancelled() => {}
        }
        // What was held back here will never be delivered.
        cut.cancel();
    }

    async fn requests(self: &Arc<Self>, mut client: OwnedReadHalf) {
        while let Some(frame) = read_frame(&mut client).await {
            match opcode(&frame) {
                PREPARE => {
                    if let Some(statement) = prepared(&frame[HEADER..]) {
                        locked(&self.awaited).insert(stream(&frame), Awaited::Prepared(statement));
                    }
                }
                EXECUTE => match self.executed(&frame) {
                    Some((Statement::Transaction, key)) => {
                        self.transaction(key, frame);
                        continue;
                    }
                    Some((Statement::Read, key)) => {
                        self.shared.of_key(&key, |of_key| of_key.asked.reads += 1);
                    }
                    None => {}
                },
                _ => {}
            }
            _ = self.to_node.send(frame);
        }
    }

    /// A conditional write, and what is to become of it.
    fn transaction(self: &Arc<Self>, key: String, frame: Bytes) {
        let (fault, done) = self.shared.of_key(&key, |of_key| {
            of_key.asked.transactions += 1;
            (of_key.armed.pop_front(), of_key.done)
        });
        let stream = stream(&frame);
        match fault {
            Some(Fault::Refused(said)) => _ = self.to_client.send(said.to_frame(stream)),
            Some(Fault::CutUnseen) => self.cut.cancel(),
            Some(Fault::LateRequest) => {
                let held = Held::new(&self.shared, &key);
                let here = self.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = here.shared.until(&key, |of_key| of_key.released || of_key.done > done) => {}
                        () = here.cut.cancelled() => return,
                    }
                    locked(&here.awaited).insert(stream, Awaited::Late { _held: held });
                    _ = here.to_node.send(frame);
                });
            }
            Some(Fault::LateAnswer) => {
                let held = Some(Held::new(&self.shared, &key));
                self.forward(frame, Awaited::Transaction { key, fault, held });
            }
            Some(Fault::Done(_) | Fault::CutDone) | None => {
                self.forward(frame, Awaited::Transaction { key, fault, held: None });
            }
        }
    }

    fn forward(&self, frame: Bytes, awaited: Awaited) {
        locked(&self.awaited).insert(stream(&frame), awaited);
        _ = self.to_node.send(frame);
    }

    async fn answers(self: &Arc<Self>, mut node: OwnedReadHalf) {
        while let Some(frame) = read_frame(&mut node).await {
            let awaited = locked(&self.awaited).remove(&stream(&frame));
            match awaited {
                Some(Awaited::Transaction { key, fault, held }) => self.answered(key, fault, held, frame),
                Some(Awaited::Prepared(statement)) => {
                    if let Some(id) = prepared_id(&frame) {
                        locked(&self.shared.statements).insert(id, statement);
                    }
                    _ = self.to_client.send(frame);
                }
                Some(Awaited::Late { .. }) | None => _ = self.to_client.send(frame),
            }
        }
    }

    fn answered(self: &Arc<Self>, key: String, fault: Option<Fault>, held: Option<Held>, frame: Bytes) {
        let transactions = self.shared.of_key(&key, |of_key| {
            of_key.done += 1;
            of_key.asked.transactions
        });
        match fault {
            Some(Fault::Done(said)) => _ = self.to_client.send(said.to_frame(stream(&frame))),
            Some(Fault::CutDone) => self.cut.cancel(),
            Some(Fault::LateAnswer) => {
                let here = self.clone();
                tokio::spawn(async move {
                    let written_again =
                        |of_key: &OfKey| of_key.released || of_key.asked.transactions > transactions;
                    tokio::select! {
                        () = here.shared.until(&key, written_again) => { _ = here.to_client.send(frame); }
                        () = here.cut.cancelled() => {}
                    }
                    drop(held);
                });
            }
            _ => _ = self.to_client.send(frame),
        }
    }

    /// Which statement is executed for which key, if it is one of a record.
    fn executed(&self, frame: &[u8]) -> Option<(Statement, String)> {
        let mut body = &frame[HEADER..];
        let id = short_bytes(&mut body)?;
        let statement = *locked(&self.shared.statements).get(&id)?;
        // Consistency and flags; the values, which come first, are (ttl, write_id, record, tenant, endpoint, key …) or
        // (tenant, endpoint, key).
        body.advance(3);
        let values = body.get_u16();
        let place = match statement {
            Statement::Transaction => 5,
            Statement::Read => 2,
        };
        assert!(values > place, "a statement on a record has a key");
        for _ in 0..place {
            let length = usize::try_from(body.get_i32()).unwrap_or(0);
            body.advance(length);
        }
        let length = usize::try_from(body.get_i32()).expect("a key is not null");
        Some((statement, String::from_utf8(body[..length].to_vec()).expect("a key is text")))
    }
}

impl Said {
    fn to_frame(self, stream: i16) -> Bytes {
        const LOCAL_QUORUM: u16 = 0x06;
        const LOCAL_SERIAL: u16 = 0x09;
        let mut body = BytesMut::new();
        let (code, consistency) = match self {
            Self::CasTimeout => (0x1100, LOCAL_SERIAL),
            Self::SimpleTimeout => (0x1100, LOCAL_QUORUM),
            Self::Unavailable => (0x1000, LOCAL_SERIAL),
            Self::UnavailableToCommit => (0x1000, LOCAL_QUORUM),
        };
        body.put_i32(code);
        put_text(&mut body, "forged");
        body.put_u16(consistency);
        // Received and required; required and alive.
        let (first, second) = if code == 0x1100 { (1, 2) } else { (2, 1) };
        body.put_i32(first);
        body.put_i32(second);
        match self {
            Self::CasTimeout => put_text(&mut body, "CAS"),
            Self::SimpleTimeout => put_text(&mut body, "SIMPLE"),
            Self::Unavailable | Self::UnavailableToCommit => {}
        }
        let mut frame = BytesMut::new();
        frame.put_u8(RESPONSE | 4);
        frame.put_u8(0);
        frame.put_i16(stream);
        frame.put_u8(ERROR);
        frame.put_u32(u32::try_from(body.len()).expect("short"));
        frame.extend_from_slice(&body);
        frame.freeze()
    }
}

fn put_text(body: &mut BytesMut, text: &str) {
    body.put_u16(u16::try_from(text.len()).expect("short"));
    body.put_slice(text.as_bytes());
}

async fn pass_on(mut frames: mpsc::UnboundedReceiver<Bytes>, mut to: OwnedWriteHalf) {
    while let Some(frame) = frames.recv().await {
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// The next frame, whole; `None` once the other side has closed.
async fn read_frame(from: &mut OwnedReadHalf) -> Option<Bytes> {
    let mut frame = vec![0; HEADER];
    from.read_exact(&mut frame).await.ok()?;
    let length = (&frame[5..]).get_u32() as usize;
    frame.resize(HEADER + length, 0);
    from.read_exact(&mut frame[HEADER..]).await.ok()?;
    Some(frame.into())
}

fn opcode(frame: &[u8]) -> u8 {
    frame[4]
}

fn stream(frame: &[u8]) -> i16 {
    (&frame[2..4]).get_i16()
}

fn short_bytes(body: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::from(body.try_get_u16().ok()?);
    let bytes = body.get(..length)?.to_vec();
    body.advance(length);
    Some(bytes)
}

/// Which statement this is, if it is one on records.
fn prepared(body: &[u8]) -> Option<Statement> {
    let text = std::str::from_utf8(body.get(4..)?).ok()?;
    if text.starts_with("UPDATE") && text.contains(".record ") && text.contains(" IF ") {
        Some(Statement::Transaction)
    } else if text.starts_with("SELECT write_id, record") {
        Some(Statement::Read)
    } else {
        None
    }
}

fn prepared_id(frame: &[u8]) -> Option<Vec<u8>> {
    let mut body = frame.get(HEADER..)?;
    if opcode(frame) != RESULT || body.try_get_i32().ok()? != RESULT_PREPARED {
        return None;
    }
    short_bytes(&mut body)
}
