//! A real server for users' tests.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::client::Client;
use crate::error::{BoxError, Error};
use crate::options::ClientOptions;

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A real `semel serve --store memory` on ports of its own: the program that `SEMEL_BIN` names, else `semel` on the `PATH`.
/// It ends when this is dropped. Nothing of the environment reaches it.
///
/// ```no_run
/// # use semel_client::testing::TestServer;
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let server = TestServer::start().await?;
/// let client = server.client()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestServer {
    child: Child,
    address: String,
    directory: PathBuf,
    /// Whatever else it prints must find a reader.
    _printed: Lines<BufReader<ChildStdout>>,
}

impl TestServer {
    /// Starts one, and returns when it is ready.
    ///
    /// # Errors
    ///
    /// Where the program cannot be started, or is not ready within a minute.
    pub async fn start() -> Result<Self, BoxError> {
        Self::start_with(std::iter::empty::<&str>()).await
    }

    /// As [`start`](Self::start), with further arguments of `semel serve`: a policy, certificates, credentials. Name files by
    /// whole paths; the server works in a directory of its own.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start).
    pub async fn start_with(
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self, BoxError> {
        let program = program()?;
        let directory = std::env::temp_dir().join(format!("semel-test-{}", Uuid::new_v4()));
        std::fs::create_dir(&directory)?;
        let mut child = Command::new(&program)
            .args(["serve", "--store", "memory", "--listen", "127.0.0.1:0"])
            .args(["--ops-listen", "127.0.0.1:0", "--log-level", "error"])
            .arg("--audit-log")
            .arg(directory.join("audit.jsonl"))
            .args(arguments)
            .current_dir(&directory)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let printed = child.stdout.take().ok_or("its output is not piped")?;
        let mut printed = BufReader::new(printed).lines();
        let (address, operations) = timeout(PATIENCE, addresses(&mut printed)).await??;
        let server = Self { child, address, directory, _printed: printed };
        timeout(PATIENCE, ready(&operations)).await?;
        Ok(server)
    }

    /// Where it serves, as `http://host:port`, or `https://host:port` where it has a certificate.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client of it.
    ///
    /// # Errors
    ///
    /// Those of [`Client::new`].
    pub fn client(&self) -> Result<Client, Error> {
        Client::new(ClientOptions::new().address(&self.address))
    }

    /// Ends it, and returns when it is gone.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub async fn stop(mut self) -> Result<(), BoxError> {
        Ok(self.child.kill().await?)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It is empty, and the system clears it in the end.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The server's program. It is looked for here, since the server gets no `PATH`, and works in a directory of its own.
fn program() -> Result<PathBuf, BoxError> {
    if let Some(named) = std::env::var_os("SEMEL_BIN") {
        return Ok(std::path::absolute(named)?);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("semel")).find(|file| file.is_file());
    let found = found.ok_or("there is no semel on the PATH; SEMEL_BIN may name it")?;
    Ok(std::path::absolute(found)?)
}

/// Where a server says that it listens: for calls, and for operations.
async fn addresses(printed: &mut Lines<BufReader<ChildStdout>>) -> Result<(String, String), BoxError> {
    let (mut calls, mut operations) = (None, None);
    while let Some(line) = printed.next_line().await? {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("gRPC"), Some(address)) => calls = Some(address.to_owned()),
            (Some("operations"), Some(address)) => operations = Some(host(address).to_owned()),
            _ => {}
        }
        if let (Some(calls), Some(operations)) = (&calls, &operations) {
            return Ok((calls.clone(), operations.clone()));
        }
    }
    Err("the server ended before it said where it listens".into())
}

fn host(address: &str) -> &str {
    let address = address.trim_start_matches("http://");
    address.split('/').next().unwrap_or(address)
}

/// Returns when the server says that it is ready.
async fn ready(operations: &str) {
    while !is_ready(operations).await.unwrap_or(false) {
        sleep(ASK_EVERY).await;
    }
}

async fn is_ready(operations: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(operations).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {operations}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
