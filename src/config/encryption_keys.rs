//! The key file: which keys there are, and whose records each encrypts. Nothing here ever shows a key.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use tracing::info;

use super::Secret;
use super::effective::Effective;
use super::file_watch::{FileWatch, FromFiles, text};
use super::problem::{Problem, Problems, did_you_mean, listed};
use super::toml_lines::{Source, kind};
use crate::audit::{Change, Values};
use crate::domain::Tenant;
use crate::storage::sealed::{KEY_BYTES, KeyId, Keyring, Keyrings};

const FIELDS: [&str; 3] = ["current", "keys", "tenants"];
/// In the place of a key's id: what is written stays as it is.
const NONE: &str = "none";
const ID_FORM: &str = "1 to 64 letters, digits, dots, dashes and underscores";

/// The keys at the start, and where they were read.
#[derive(Debug)]
pub struct EncryptionKeys {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: Secret,
    /// What it says.
    pub keyring: Keyring,
}

/// Reads a key file's text; `name` is what problems call the file.
pub fn parse_encryption_keys(name: &str, text: &str) -> Result<Keyring, Problems> {
    Source { name, text }.read(|source, root, problems| {
        let mut reader = Reader { source, problems, keys: BTreeMap::new(), tenants: Vec::new() };
        let current = reader.read(root);
        Keyring::new(reader.keys, current, reader.tenants)
    })
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

struct Reader<'a> {
    source: Source<'a>,
    problems: &'a mut Vec<Problem>,
    keys: BTreeMap<KeyId, [u8; KEY_BYTES]>,
    tenants: Vec<(Tenant, KeyId)>,
}

impl Reader<'_> {
    /// The default key's id, where there is one, and no problem says why it is not known.
    fn read(&mut self, root: &DeTable<'_>) -> Option<KeyId> {
        for (name, value) in root {
            let field = name.get_ref().as_ref();
            match (field, value.get_ref()) {
                ("keys", DeValue::Table(keys)) => self.read_keys(keys),
                ("current", DeValue::String(_)) | ("tenants", DeValue::Table(_)) => {}
                ("current", other) => {
                    let problem = format!("is {}; write the id of a key, or \"{NONE}\"", kind(other));
                    self.report(field, name, problem);
                }
                ("keys" | "tenants", other) => {
                    self.report(field, name, format!("is {}; write a [{field}] table", kind(other)));
                }
                (other, _) => {
                    let meant = did_you_mean(other, FIELDS);
                    self.report(other, name, format!("is not known here{meant} (known: {})", listed(FIELDS)));
                }
            }
        }
        if let Some(DeValue::Table(tenants)) = root.get("tenants").map(Spanned::get_ref) {
            for entry in tenants {
                self.read_tenant(entry);
            }
        }
        let Some((name, value)) = root.get_key_value("current") else {
            let problem =
                format!("is missing; write the id of the key that encrypts what is written, or \"{NONE}\"");
            self.report_at(None, "current", problem);
            return None;
        };
        match value.get_ref().as_str() {
            Some(NONE) | None => None,
            Some(id) => self.known("current", name, id),
        }
    }

    fn read_keys(&mut self, keys: &DeTable<'_>) {
        for (name, value) in keys {
            let field = format!("keys.{}", name.get_ref());
            let id = KeyId::new(name.get_ref()).filter(|id| id.as_str() != NONE);
            let key = value.get_ref().as_str().and_then(|text| BASE64.decode(text).ok());
            let key = key.map(<[u8; KEY_BYTES]>::try_from);
            match (id, key) {
                (None, _) => {
                    self.report(&field, name, format!("is no id of a key; write {ID_FORM}, not {NONE}"));
                }
                (Some(id), Some(Ok(key))) => _ = self.keys.insert(id, key),
                (Some(_), Some(Err(bytes))) => {
                    let problem = format!("is {} bytes long; a key has {KEY_BYTES}", bytes.len());
                    self.report(&field, name, problem);
                }
                (Some(_), None) => {
                    let right = "make one with `semel encryption-key create`";
                    self.report(&field, name, format!("is not {KEY_BYTES} bytes in base64; {right}"));
                }
            }
        }
    }

    fn read_tenant(&mut self, (name, value): Entry<'_>) {
        let field = format!("tenants.{}", name.get_ref());
        let tenant = match Tenant::new(name.get_ref()) {
            Ok(tenant) => tenant,
            Err(violation) => return self.report(&field, name, violation.problem),
        };
        let Some(id) = value.get_ref().as_str() else {
            let problem = format!("is {}; write the id of a key", kind(value.get_ref()));
            return self.report(&field, name, problem);
        };
        if let Some(id) = self.known(&field, name, id) {
            self.tenants.push((tenant, id));
        }
    }

    /// The key of that id, which must be there.
    fn known(&mut self, field: &str, name: &Spanned<DeString<'_>>, id: &str) -> Option<KeyId> {
        let known = KeyId::new(id).filter(|id| self.keys.contains_key(id));
        if known.is_none() {
            self.report(field, name, "names a key that is not among [keys]; write it there too".to_owned());
        }
        known
    }

    fn report(&mut self, field: &str, name: &Spanned<DeString<'_>>, problem: String) {
        self.report_at(Some(self.source.line(&name.span())), field, problem);
    }

    fn report_at(&mut self, line: Option<usize>, field: &str, problem: String) {
        let (origin, field) = (self.source.name.to_owned(), field.escape_debug().to_string());
        self.problems.push(Problem { origin, line, field, value: None, problem });
    }
}

impl Effective {
    /// The keys, where a file of them is named.
    pub(super) fn encryption_keys(
        &self,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Option<EncryptionKeys> {
        const SETTING: &str = "encryption_key_file";
        let path = self.path(SETTING)?.clone();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let value = Some(format!("{:?}", path.display().to_string()));
                problems.push(self.problem(SETTING, value, format!("cannot be read: {error}")));
                return None;
            }
        };
        warnings.extend(readable_by_others(&path));
        match parse_encryption_keys(&path.display().to_string(), &text) {
            Ok(keyring) => Some(EncryptionKeys { path, text: Secret(text), keyring }),
            Err(found) => {
                problems.extend(found.0);
                None
            }
        }
    }
}

fn readable_by_others(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        format!("{} holds secrets, and everybody on this machine may read it: chmod o-r", path.display())
    })
}

/// The keys of a server, as its key file says.
#[derive(Debug)]
pub struct EncryptionKeyFile {
    path: PathBuf,
    keyrings: Arc<Keyrings>,
    changes: Vec<Change>,
}

/// Keeps the keys in force as the key file says.
pub type EncryptionKeysWatch = FileWatch<EncryptionKeyFile>;

impl FileWatch<EncryptionKeyFile> {
    /// Watches the file of `keys`, which are in force in `keyrings`.
    pub fn new(path: PathBuf, text: &Secret, keyrings: Arc<Keyrings>) -> Self {
        let content = text.as_bytes().to_vec();
        Self::of(vec![path.clone()], &[content], EncryptionKeyFile { path, keyrings, changes: Vec::new() })
    }
}

impl FromFiles for EncryptionKeyFile {
    fn words(&self) -> (&'static str, &'static str) {
        ("the key file", "the set of encryption keys in force")
    }

    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems> {
        let keyring = parse_encryption_keys(&self.path.display().to_string(), text(&self.path, contents)?)?;
        let ids = keyring.ids().iter().map(KeyId::as_str).collect::<Vec<_>>().join(", ");
        info!(
            ids,
            current = keyring.current().map_or(NONE, KeyId::as_str),
            "records are encrypted by these keys"
        );
        self.changes = Change::between(&values(&self.keyrings.current()), &values(&keyring));
        self.keyrings.replace(keyring);
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

/// Which keys there are, and whose records each encrypts.
fn values(ring: &Keyring) -> Values {
    let keys = ring.ids().into_iter().map(|id| ("keys", id.to_string(), "present".to_owned()));
    let tenants =
        ring.tenants().iter().map(|(tenant, id)| ("tenants", tenant.as_str().to_owned(), id.to_string()));
    let current = ("current", String::new(), ring.current().map_or(NONE, KeyId::as_str).to_owned());
    let all = keys.chain(tenants).chain([current]);
    all.map(|(of, field, value)| ((of.to_owned(), field), value)).collect()
}
