//! What is said of a panic: where it was, and its text only where that is a part of the program. A text that was put
//! together when it happened may hold anything, such as the key that was cut at the wrong byte.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::PanicHookInfo;

use tracing::error;

thread_local! {
    /// Where this thread panicked last.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has every panic of the process put into the log, in the place of standard error, which may stand still.
pub(crate) fn log_them() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        log(panic, &place);
        PLACE.set(Some(place));
    }));
}

fn log(panic: &PanicHookInfo<'_>, place: &str) {
    let (text, thread) = (text(panic.payload()), std::thread::current());
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    error!(text, place, thread, backtrace, "a panic: this is a bug");
}

/// The text of a panic, where it may be shown.
pub(crate) fn text(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("not shown, for it may hold what callers sent")
}

/// Where this thread panicked last, where that is known.
pub(crate) fn place() -> Option<String> {
    PLACE.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_text_is_shown_only_where_it_is_part_of_the_program() {
        let caught = |panics: fn()| std::panic::catch_unwind(panics).unwrap_err();
        assert_eq!(text(&*caught(|| panic!("a bug"))), "a bug");
        let said = text(&*caught(|| drop("caf\u{e9} 4711"[..4].to_owned())));
        assert!(!said.contains("4711"), "{said}");
        let said = text(&*caught(|| _ = std::hint::black_box(Err::<u8, _>("4711")).expect("it is there")));
        assert!(!said.contains("4711"), "{said}");
    }
}
