//! A gRPC client without manners: any bytes, any headers, no deadline of its own.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

/// One HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct RawClient {
    pub(crate) requests: SendRequest<Bytes>,
    /// Ends with the connection, and says how.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

impl RawClient {
    pub(crate) async fn connect(address: &str) -> Self {
        Self::connect_taking(address, 8 << 20).await
    }

    /// Takes as many bytes of each answer as it says, and more only as it reads on.
    pub(crate) async fn connect_taking(address: &str, bytes: u32) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(bytes).initial_connection_window_size(8 << 20);
        let (requests, connection) = builder.handshake(socket).await.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    /// The answer to `message`, framed as gRPC frames a message.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        message: &[u8],
    ) -> Result<Bytes, Status> {
        self.send(path, headers, framed(message)).await
    }

    /// The answer to a body of any bytes. What the transport says itself is a status as gRPC maps it.
    pub(crate) async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Bytes, Status> {
        let transport = |error: h2::Error| Status::new(Code::Unavailable, format!("transport: {error}"));
        let mut ready = self.requests.clone().ready().await.map_err(transport)?;
        let (response, mut sending) = ready.send_request(request(path, headers), false).map_err(transport)?;
        // A server may answer before it has read everything: then the rest is not wanted.
        let _ = sending.send_data(body, true);
        let response = response.await.map_err(transport)?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return if status.code() == Code::Ok { Ok(Bytes::new()) } else { Err(status) };
        }
        if response.status() != 200 {
            return Err(Status::new(Code::Unknown, format!("HTTP {}", response.status())));
        }
        let mut received = BytesMut::new();
        let mut body = response.into_body();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(transport)?;
            let _ = body.flow_control().release_capacity(chunk.len());
            received.extend_from_slice(&chunk);
        }
        let trailers: HeaderMap = body.trailers().await.map_err(transport)?.unwrap_or_default();
        match Status::from_header_map(&trailers) {
            Some(status) if status.code() == Code::Ok => Ok(received.freeze().slice(5..)),
            Some(status) => Err(status),
            None => Err(Status::new(Code::Unknown, "no status")),
        }
    }
}

pub(crate) fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://semel.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A message as gRPC frames it: not compressed, its length, itself.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.extend_from_slice(message);
    body.freeze()
}

/// A connection of hand-made HTTP/2 frames.
#[derive(Debug)]
pub(crate) struct Frames(pub(crate) TcpStream);

impl Frames {
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;

    /// Connects and greets.
    pub(crate) async fn connect(address: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        socket.write_all(&Self::frame(4, 0, 0, &[])).await.unwrap();
        Self(socket)
    }

    /// Length, type, flags, stream, payload.
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(9 + payload.len());
        frame.put_uint(payload.len() as u64, 3);
        frame.put_u8(kind);
        frame.put_u8(flags);
        frame.put_u32(stream);
        frame.extend_from_slice(payload);
        frame.freeze()
    }

    pub(crate) fn headers(flags: u8, stream: u32, path: &str) -> Bytes {
        let mut block = BytesMut::new();
        // POST and http by their places in the static table; :path, :authority and content-type as literals.
        block.put_slice(&[0x83, 0x86]);
        for (name, value) in [(&[0x04][..], path), (&[0x01], "test"), (&[0x0f, 0x10], "application/grpc")] {
            block.put_slice(name);
            block.put_u8(u8::try_from(value.len()).unwrap());
            block.put_slice(value.as_bytes());
        }
        Self::frame(1, flags, stream, &block)
    }

    pub(crate) fn reset(stream: u32) -> Bytes {
        Self::frame(3, 0, stream, &8_u32.to_be_bytes())
    }

    pub(crate) fn continuation(stream: u32, block: &[u8]) -> Bytes {
        Self::frame(9, 0, stream, block)
    }

    pub(crate) fn window_update(stream: u32, by: u32) -> Bytes {
        Self::frame(8, 0, stream, &by.to_be_bytes())
    }

    pub(crate) async fn send(&mut self, frames: impl IntoIterator<Item = Bytes>) -> std::io::Result<()> {
        let all: Vec<u8> = frames.into_iter().flatten().collect();
        self.0.write_all(&all).await
    }

    /// Kind, stream and payload of the next frame that the server sends; `None` once it has closed.
    pub(crate) async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes(head[5..].try_into().unwrap()), payload))
    }

    /// The error code with which the server says goodbye; `None` if it closes without.
    pub(crate) async fn goodbye(&mut self) -> Option<u32> {
        let mut said = None;
        while let Some((kind, _, payload)) = self.next().await {
            if kind == 7 {
                said = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        said
    }

    /// Stream and error code of the next stream that the server resets.
    pub(crate) async fn refused(&mut self) -> Option<(u32, u32)> {
        while let Some((kind, stream, payload)) = self.next().await {
            if kind == 3 {
                return Some((stream, u32::from_be_bytes(payload[..].try_into().unwrap())));
            }
        }
        None
    }
}
