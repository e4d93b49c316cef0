//! What the server says when it starts: where it listens, and how to try it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::cli::output::{shell_quoted, write_out};
use crate::config::{Loaded, ServerConfig, StoreSettings};
use crate::domain::Timestamp;
use crate::server::Security;

/// Where the server listens, ports settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) grpc: SocketAddr,
    pub(super) operations: SocketAddr,
}

/// Prints the start-up message on standard output.
pub(super) fn print(config: &ServerConfig, security: &Security, addresses: Addresses, now: Timestamp) {
    let records = match &config.store {
        StoreSettings::Memory => "in memory alone".to_owned(),
        StoreSettings::Embedded(embedded) => format!("in {}, durable", embedded.directory.display()),
        StoreSettings::Scylla(database) => {
            format!("in the keyspace {} of a database that others may share, durable", database.keyspace)
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    let Addresses { grpc, operations } = addresses;
    let scheme = if security.tls.is_some() { "https" } else { "http" };
    let lines = demonstration(&program(), scheme, grpc, now);
    let first = if security.tls.is_some() || security.auth.is_some() {
        "First set SEMEL_TLS_CA, SEMEL_TENANT, and SEMEL_TOKEN_FILE or SEMEL_TLS_CERT and SEMEL_TLS_KEY, as this\n\
         server wants them, and name it as its certificate does.\n"
    } else {
        ""
    };
    write_out(&format!(
        "semel {version}\n\
         gRPC        {scheme}://{grpc}\n\
         operations  http://{operations}/readyz\n\
         records     {records}\n\
         \n\
         Paste these lines into another terminal: begin, a duplicate, complete, a replay.\n\
         {first}\
         \n\
         {}\n\n",
        lines.join("\n")
    ));
}

/// What runs, and how it is configured: a TOML file, secrets hidden.
pub(super) fn debug_page(loaded: &Loaded) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (target, profile) = (env!("SEMEL_TARGET"), env!("SEMEL_PROFILE"));
    let file = loaded.file.as_ref().map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    format!(
        "# semel {version} for {target}, profile {profile}\n# settings file: {file}\n\n{}",
        loaded.print()
    )
}

/// The program that runs, as a shell word.
fn program() -> String {
    let path = std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok());
    shell_word(&path.unwrap_or_else(|| "semel".to_owned()))
}

/// Four lines for a POSIX shell. The key is of this start: an earlier start's has completed.
fn demonstration(program: &str, scheme: &str, grpc: SocketAddr, now: Timestamp) -> [String; 4] {
    // Said even where it is the default: the other terminal may have another in its environment.
    let server = format!("--server {scheme}://{} ", reachable(grpc));
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(now.as_micros());
    let started: String =
        humantime::format_rfc3339_seconds(now).to_string().chars().filter(char::is_ascii_digit).collect();
    let key = format!("--endpoint demo/Charge --key order-{started}");
    [
        format!(r#"eval "$({program} begin {server}{key} --output env)""#),
        format!("{program} begin {server}{key}"),
        format!("{program} complete {server}{key} --payload 'charged 42 EUR'"),
        format!("{program} begin {server}{key}"),
    ]
}

/// The address that a caller on this machine uses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// `text` as one word of a shell, quoted where it has to be.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) { text.to_owned() } else { shell_quoted(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_the_server_as_this_machine_reaches_it() {
        let [begin, ..] =
            demonstration("/bin/semel", "http", "127.0.0.1:7400".parse().unwrap(), Timestamp::default());
        assert_eq!(
            begin,
            r#"eval "$(/bin/semel begin --server http://127.0.0.1:7400 --endpoint demo/Charge --key order-19700101000000 --output env)""#
        );
        let [_, begin, ..] =
            demonstration("semel", "http", "0.0.0.0:81".parse().unwrap(), Timestamp::default());
        assert!(begin.contains("--server http://127.0.0.1:81 "), "{begin}");
        assert_eq!(shell_word("/a b/it's"), r"'/a b/it'\''s'");
    }
}
