//! A door for this project's own tests: whom a credential stands for, without a connection.

use super::{Auth, bearer};

impl Auth {
    /// The name of whom an `authorization` header stands for, or why it stands for nobody.
    pub fn bearer_name(&self, authorization: &[u8]) -> Result<String, &'static str> {
        let identity = bearer(authorization).and_then(|token| self.bearer(token));
        identity.map(|identity| identity.name().to_owned()).map_err(|rejection| rejection.cause)
    }
}
