//! Connections of hand-made frames, by clients that write as fast as they can and note what the server says.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::attacked::soon;
use crate::support::raw::Frames;

pub(crate) const BEGIN: &str = "/semel.v1.IdempotencyService/Begin";

/// With what HTTP/2 begins.
pub(crate) const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a server said on one connection until it closed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The code of its last GOAWAY.
    pub(crate) goodbye: Option<u32>,
    pub(crate) resets: u64,
    pub(crate) answers: u64,
    /// The errors before any other answer: only they end a stream by its first headers.
    pub(crate) refused_at_first: u64,
    /// Pings that were answered.
    pub(crate) pongs: u64,
    /// Settings that were acknowledged.
    pub(crate) acknowledged: u64,
}

/// A client that reads whatever it is sent.
#[derive(Debug)]
pub(crate) struct Hostile {
    writing: OwnedWriteHalf,
    reading: JoinHandle<Heard>,
    so_far: watch::Receiver<Heard>,
    pub(crate) frames: u64,
}

impl Hostile {
    /// Connects and greets.
    pub(crate) async fn connect(address: &str) -> Self {
        let (reading, writing) = greeted(address).await.into_split();
        let (heard, so_far) = watch::channel(Heard::default());
        Self { writing, reading: tokio::spawn(listen(reading, heard)), so_far, frames: 0 }
    }

    /// Whether the server has said something already.
    pub(crate) fn heard(&self, holds: impl FnOnce(&Heard) -> bool) -> bool {
        holds(&self.so_far.borrow())
    }

    /// Waits until the server has said something; false if it closed before.
    pub(crate) async fn hears(&mut self, holds: impl FnMut(&Heard) -> bool) -> bool {
        soon("a server answers a hostile client", self.so_far.wait_for(holds)).await.is_ok()
    }

    /// Sends frames; says whether the server still took them.
    pub(crate) async fn send(&mut self, frames: impl IntoIterator<Item = Bytes>) -> bool {
        let mut all = BytesMut::new();
        for frame in frames {
            self.frames += 1;
            all.extend_from_slice(&frame);
        }
        !self.reading.is_finished() && soon("a flood is taken", self.writing.write_all(&all)).await.is_ok()
    }

    /// Goes away without a word.
    pub(crate) async fn gone(self) -> Heard {
        let heard = *self.so_far.borrow();
        self.reading.abort();
        drop(self.writing);
        let _ = self.reading.await;
        heard
    }

    /// Says that nothing more comes, and waits until the server has closed.
    pub(crate) async fn ended(mut self) -> Heard {
        let _ = self.writing.shutdown().await;
        soon("a hostile connection ends", self.reading).await.unwrap()
    }
}

/// A connection that has greeted.
pub(crate) async fn greeted(address: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let greeting = [GREETING, &Frames::frame(4, 0, 0, &[])].concat();
    socket.write_all(&greeting).await.unwrap();
    socket
}

async fn listen(reading: OwnedReadHalf, so_far: watch::Sender<Heard>) -> Heard {
    use tokio::io::{AsyncReadExt, BufReader};

    let mut reading = BufReader::with_capacity(64 << 10, reading);
    let mut heard = Heard::default();
    let mut head = [0; 9];
    // A server that closes on what it has not read takes the rest of its own words with it.
    while reading.read_exact(&mut head).await.is_ok() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if reading.read_exact(&mut payload).await.is_err() {
            break;
        }
        match (head[3], head[4] & 1) {
            (1, ends) => {
                heard.refused_at_first += u64::from(ends == 1 && heard.answers == heard.refused_at_first);
                heard.answers += 1;
            }
            (3, _) => heard.resets += 1,
            (4, 1) => heard.acknowledged += 1,
            (6, 1) => heard.pongs += 1,
            (7, _) => heard.goodbye = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap())),
            _ => {}
        }
        so_far.send_replace(heard);
    }
    heard
}

/// A header that is not indexed, as HPACK writes it.
pub(crate) fn literal(name: &str, value: &[u8]) -> Bytes {
    field(0, name, value)
}

/// The same, which the server is to remember.
pub(crate) fn indexed(name: &str, value: &[u8]) -> Bytes {
    field(0x40, name, value)
}

fn field(first: u8, name: &str, value: &[u8]) -> Bytes {
    let mut field = BytesMut::new();
    field.put_u8(first);
    length(&mut field, name.len());
    field.extend_from_slice(name.as_bytes());
    length(&mut field, value.len());
    field.extend_from_slice(value);
    field.freeze()
}

/// An integer behind one bit: RFC 7541, section 5.1.
fn length(into: &mut BytesMut, mut value: usize) {
    if value < 127 {
        into.put_u8(u8::try_from(value).unwrap());
        return;
    }
    into.put_u8(127);
    value -= 127;
    while value >= 128 {
        into.put_u8(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    into.put_u8(u8::try_from(value).unwrap());
}

/// HEADERS of a gRPC request, with more headers behind the usual ones.
pub(crate) fn headers(flags: u8, stream: u32, path: &str, more: &[Bytes]) -> Bytes {
    let usual = Frames::headers(0, stream, path).slice(9..);
    let block: Vec<u8> = std::iter::once(&usual).chain(more).flat_map(|part| part.iter().copied()).collect();
    Frames::frame(1, flags, stream, &block)
}

pub(crate) fn data(flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    Frames::frame(0, flags, stream, payload)
}
