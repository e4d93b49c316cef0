//! For users' tests: a fake that needs no server, and a helper that starts a real one. Feature `testing`.

mod fake;
mod record;
mod server;

pub use fake::{Call, Fake, Scripted};
pub use server::TestServer;
