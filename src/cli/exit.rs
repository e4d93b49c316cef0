//! What the program's exit status says. Scripts branch on it: a status never changes its meaning.

use std::process::ExitCode;

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

macro_rules! exits {
    ($($name:ident = $code:literal, $meaning:literal;)+) => {
        impl Exit {
            $(pub(crate) const $name: Self = Self($code);)+
        }

        /// Every status of semel's own and its meaning.
        const MEANINGS: &[(u8, &str)] = &[$(($code, $meaning)),+];
    };
}

exits! {
    DONE = 0, "done; begin: started, the key is yours";
    FAILED = 1, "semel itself failed, or the server has a bug (INTERNAL)";
    USAGE = 2, "the command line is wrong; nothing was sent";
    CONFIGURATION = 3, "the server's configuration is refused; nothing was started";
    REPLAYED_SUCCESS = 100, "begin: it already succeeded, and the result was replayed";
    REPLAYED_FAILURE = 101, "begin: it already failed for good, and the failure was replayed";
    IN_PROGRESS = 102, "begin, once: another attempt is running, or asked for a pause";
    UNRESOLVED = 103, "begin, once: nobody knows the outcome, or the attempts are used up; an operator has to resolve it";
    KEY_EXPIRED = 104, "the operation was first sent before the retention window (KEY_EXPIRED)";
    FINGERPRINT_MISMATCH = 105, "the key stands for another request (FINGERPRINT_MISMATCH)";
    FENCE_LOST = 106, "this attempt does not own the key (FENCE_LOST, ATTEMPT_ENDED); once: the command was not started, or was killed, or its result came too late";
    NOT_FOUND = 107, "nothing is known of the key (KEY_NOT_FOUND)";
    CONFLICT = 108, "the record's state does not allow it (other FAILED_PRECONDITION reasons)";
    INVALID = 109, "the server refused an argument (INVALID_ARGUMENT)";
    UNAVAILABLE = 110, "the server, or for schema and store the database, could not be reached, or did not answer in time; once: nothing ran; begin: the key may be yours, and the same --attempt-id tells";
    EXHAUSTED = 111, "the server has no room for the call (RESOURCE_EXHAUSTED)";
    NOT_ALLOWED = 112, "the credential is missing, wrong, or not sufficient; for schema and store that of the database";
    VIOLATED = 113, "bench: a promise was found broken, or the run was not what was asked for";
    SCHEMA = 114, "schema, store: the database's keyspace or its tables will not do; the message says what would";
    UNREPORTED = 120, "once: the command ran, or may have, but its outcome could not be stored";
    NOT_EXECUTABLE = 126, "once: the command could not be started; the key was released";
    NOT_FOUND_COMMAND = 127, "once: the command was not found; the key was released";
}

/// Points from the short help to the table.
pub(crate) const SEE_LONG_HELP: &str = "Exit statuses: semel --help, and docs/CLI.md";

impl Exit {
    /// The status of a process that a signal ended, as shells give it.
    pub(crate) fn of_signal(signal: i32) -> Self {
        Self(u8::try_from(signal).unwrap_or(0).saturating_add(128))
    }

    /// Another program's status, passed on.
    pub(crate) const fn passed_on(code: u8) -> Self {
        Self(code)
    }

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// The table of statuses for the long help.
pub(crate) fn table() -> String {
    let rows = MEANINGS.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}"));
    std::iter::once("Exit statuses:".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_distinct_and_documented() {
        let documented = include_str!("../../docs/CLI.md");
        for (index, (code, meaning)) in MEANINGS.iter().enumerate() {
            assert!(MEANINGS[..index].iter().all(|(other, _)| other != code), "{code} means two things");
            let row = format!("| {code} | {meaning} |");
            assert!(documented.contains(&row), "docs/CLI.md lacks the row: {row}");
        }
    }
}
