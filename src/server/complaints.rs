//! What strangers make the server say: in the log, but not without end, since it costs them nothing.

use std::sync::{Mutex, PoisonError};

/// How many lines there are in one second; the rest is counted.
const MOST_A_SECOND: u32 = 20;

/// How much was said in the second that runs.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    which: i64,
    lines: u32,
    unsaid: u64,
}

/// Whether a line may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It may; so many before it were not.
    Given { unsaid: u64 },
    /// It may not.
    Refused,
}

impl Complaints {
    /// Asks for a line in this second.
    pub(super) fn ask(&self, second: i64) -> Leave {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unsaid = 0;
        if said.which != second {
            unsaid = said.unsaid;
            *said = Second { which: second, ..Second::default() };
        }
        if said.lines == MOST_A_SECOND {
            said.unsaid += 1;
            return Leave::Refused;
        }
        said.lines += 1;
        Leave::Given { unsaid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_and_the_rest_is_counted() {
        let complaints = Complaints::default();
        let given = |unsaid| Leave::Given { unsaid };
        for _ in 0..MOST_A_SECOND {
            assert_eq!(complaints.ask(1), given(0));
        }
        assert_eq!((complaints.ask(1), complaints.ask(1)), (Leave::Refused, Leave::Refused));
        assert_eq!((complaints.ask(2), complaints.ask(2), complaints.ask(3)), (given(2), given(0), given(0)));
    }
}
