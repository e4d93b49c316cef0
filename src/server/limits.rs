//! How much one caller, and all of them together, may ask of this server.
//!
//! The HTTP/2 library (h2 0.4) bounds more by itself, and closes the connection beyond it: the CONTINUATION frames of a
//! header block, by the largest header list; DATA frames that are empty, or small while many are not yet read.

use std::time::Duration;

/// Bounds on what the transport accepts. Every field is a setting of `semel serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request message, in bytes.
    pub max_request_bytes: usize,
    /// The largest response message, in bytes; answers to batches and pages are cut to fit it.
    pub max_response_bytes: usize,
    /// What all requests that are arriving and all answers that are not taken yet may take, in bytes, those up to 64 KiB
    /// left out. Where it is not enough, the oldest of them are given up, and their callers told CANCELLED.
    pub max_bytes_under_way: usize,
    /// The most gRPC connections at a time; one more is closed as soon as it is accepted.
    pub max_connections: usize,
    /// How long a client may take from connecting to the greeting that HTTP/2 begins with; on the operations port, how
    /// long a connection, its request and its answer may take.
    pub greeting_time: Duration,
    /// The most calls at a time on one connection, held Begins included, as an HTTP/2 setting that clients obey by
    /// waiting; one that opens more streams all the same has them refused.
    pub max_concurrent_streams: u32,
    /// The largest header list of a request, in bytes. It also bounds the CONTINUATION frames of one header block:
    /// the HTTP/2 library derives their number from it.
    pub max_header_list_bytes: u32,
    /// How many streams a client may have reset before the server took them up; one more closes the connection
    /// (HTTP/2 rapid reset, CVE-2023-44487).
    pub max_pending_reset_streams: usize,
    /// How many streams of a connection the server may have to reset for a client's protocol errors; one more
    /// closes the connection (`MadeYouReset`, CVE-2025-8671).
    pub max_error_reset_streams: usize,
    /// How long a connection may be silent before the server sends it a ping.
    pub keep_alive_interval: Duration,
    /// How long the answer to that ping may take before the connection is closed.
    pub keep_alive_timeout: Duration,
    /// After this long, give or take a tenth, a connection is asked to go (GOAWAY), so that clients spread over
    /// servers anew; zero: never.
    pub max_connection_age: Duration,
    /// How long the calls of such a connection may take to end before it is closed.
    pub max_connection_age_grace: Duration,
    /// The longest that any call may take, from its headers to its answer; a caller's own deadline may be shorter. Its
    /// answer is given up where it is not taken within as long again.
    pub request_timeout: Duration,
    /// How long the calls under way may take to end once the server was told to stop.
    pub drain_time: Duration,
}

impl Limits {
    /// What one replay needs: the largest result that a policy may allow, and room for the rest of the message.
    const LEAST_MESSAGE_BYTES: usize = 4 << 20;

    /// Timers are not made for more.
    const LONGEST: Duration = Duration::from_hours(365 * 24);

    /// Each rule that the values break, in words, naming the fields.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        check(
            self.max_request_bytes >= Self::LEAST_MESSAGE_BYTES,
            "max_request_bytes must not be below 4MiB, so that the largest result fits a request",
        );
        check(
            self.max_response_bytes >= Self::LEAST_MESSAGE_BYTES,
            "max_response_bytes must not be below 4MiB, so that the largest replay fits an answer",
        );
        check(
            self.max_bytes_under_way >= self.max_request_bytes.saturating_add(self.max_response_bytes),
            "max_bytes_under_way must not be below max_request_bytes and max_response_bytes together",
        );
        check(self.max_connections > 0, "max_connections must be more than zero");
        check(!self.greeting_time.is_zero(), "greeting_time must be more than zero");
        check(self.max_concurrent_streams > 0, "max_concurrent_streams must be more than zero");
        check(
            self.max_header_list_bytes >= 4096,
            "max_header_list_bytes must not be below 4KiB, which ordinary metadata needs",
        );
        check(!self.keep_alive_interval.is_zero(), "keep_alive_interval must be more than zero");
        check(!self.keep_alive_timeout.is_zero(), "keep_alive_timeout must be more than zero");
        check(!self.request_timeout.is_zero(), "request_timeout must be more than zero");
        for (name, length) in [
            ("greeting_time", self.greeting_time),
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("max_connection_age", self.max_connection_age),
            ("max_connection_age_grace", self.max_connection_age_grace),
            ("request_timeout", self.request_timeout),
            ("drain_time", self.drain_time),
        ] {
            check(length <= Self::LONGEST, &format!("{name} must not exceed 365d"));
        }
        problems
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 4 << 20,
            max_response_bytes: 4 << 20,
            max_bytes_under_way: 256 << 20,
            max_connections: 10_000,
            greeting_time: Duration::from_secs(10),
            max_concurrent_streams: 1024,
            max_header_list_bytes: 16 << 10,
            max_pending_reset_streams: 20,
            max_error_reset_streams: 1024,
            keep_alive_interval: Duration::from_mins(1),
            keep_alive_timeout: Duration::from_secs(20),
            max_connection_age: Duration::from_hours(1),
            max_connection_age_grace: Duration::from_mins(1),
            request_timeout: Duration::from_mins(1),
            drain_time: Duration::from_secs(20),
        }
    }
}
