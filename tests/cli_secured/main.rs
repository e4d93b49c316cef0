//! Servers that encrypt and ask for credentials, and every command as their client, as processes.

mod commands;
mod files;
mod followed;
mod settings;
mod tokens;

#[path = "../support/authority.rs"]
mod authority;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;
