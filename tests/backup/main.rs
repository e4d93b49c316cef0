//! Backups of an embedded store, by the command line and a running server, and stores made of them.

mod archive;
mod command_line;
mod restored;
mod stores;
mod under_load;

#[path = "../support/program.rs"]
mod program;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/small_disk.rs"]
mod small_disk;
#[path = "../support/mod.rs"]
mod support;
