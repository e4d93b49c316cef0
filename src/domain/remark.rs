//! What owners and operators say to people.

use super::reason::{Reason, Violation};

macro_rules! remark {
    ($(#[$doc:meta])* $name:ident, $reason:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        pub struct $name(String);

        impl $name {
            /// The longest that is accepted, in bytes of UTF-8.
            pub const MAX_BYTES: usize = 1024;

            /// Accepts up to [`Self::MAX_BYTES`] bytes, none included.
            pub fn new(text: String) -> Result<Self, Violation> {
                if text.len() > Self::MAX_BYTES {
                    return Err(Violation::new(
                        Reason::$reason,
                        format!("is {} bytes long; at most {} are allowed", text.len(), Self::MAX_BYTES),
                    ));
                }
                Ok(Self(text))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

remark!(
    /// What an owner said when it gave a key up.
    Detail, InvalidDetail
);

impl Detail {
    /// What a restore says in the place of an owner.
    pub(super) fn restored() -> Self {
        Self("the store was restored from a backup, and what came after that is not known".to_owned())
    }
}

remark!(
    /// What an operator wrote when resolving a record: who decided, and why.
    Note, InvalidResolution
);
