//! `semel encryption-key create`: makes a key for the file that `encryption_key_file` names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};

use super::exit::Exit;
use super::output::write_out;
use crate::storage::sealed::{KEY_BYTES, KeyId};

/// The keys under which a server encrypts what it stores
#[derive(Debug, Subcommand)]
pub(crate) enum EncryptionKeyCommand {
    /// Make a key, and print the line that it has in the key file
    Create(Create),
}

/// Make a key. It is shown this once
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What the key is called, in the key file, in records and in logs; a random name where absent
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<KeyId>,
}

fn parse_id(text: &str) -> Result<KeyId, String> {
    KeyId::new(text).filter(|_| text != "none").ok_or_else(|| {
        "is no id; write 1 to 64 letters, digits, dots, dashes and underscores, not none".to_owned()
    })
}

impl EncryptionKeyCommand {
    pub(crate) fn run(self) -> Exit {
        let Self::Create(Create { id }) = self;
        let id = id.map_or_else(|| format!("key-{:08x}", rand::random::<u32>()), |id| id.as_str().to_owned());
        let key = BASE64.encode(rand::random::<[u8; KEY_BYTES]>());
        write_out(&format!("\"{id}\" = \"{key}\"\n"));
        Exit::DONE
    }
}
