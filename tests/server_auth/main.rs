//! Who may call what: every kind of credential, over real sockets, against every method and every tenant.

mod caller;
mod credentials;
mod json_web_tokens;
mod reach;
mod world;

#[path = "../support/mod.rs"]
mod report;
#[path = "../support"]
mod support {
    pub(crate) mod authority;
    pub(crate) mod log;
    pub(crate) mod server;
}
