//! The status codes of gRPC, as metrics and traces name them.

macro_rules! codes {
    ($($number:literal $variant:ident = $text:literal),+ $(,)?) => {
        /// What a call was answered with (<https://grpc.io/docs/guides/status-codes/>).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "gRPC documents its codes")]
        pub enum RpcCode { $($variant = $number),+ }

        impl RpcCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, as `rpc.response.status_code` carries it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

codes! {
    0 Ok = "OK",
    1 Cancelled = "CANCELLED",
    2 Unknown = "UNKNOWN",
    3 InvalidArgument = "INVALID_ARGUMENT",
    4 DeadlineExceeded = "DEADLINE_EXCEEDED",
    5 NotFound = "NOT_FOUND",
    6 AlreadyExists = "ALREADY_EXISTS",
    7 PermissionDenied = "PERMISSION_DENIED",
    8 ResourceExhausted = "RESOURCE_EXHAUSTED",
    9 FailedPrecondition = "FAILED_PRECONDITION",
    10 Aborted = "ABORTED",
    11 OutOfRange = "OUT_OF_RANGE",
    12 Unimplemented = "UNIMPLEMENTED",
    13 Internal = "INTERNAL",
    14 Unavailable = "UNAVAILABLE",
    15 DataLoss = "DATA_LOSS",
    16 Unauthenticated = "UNAUTHENTICATED",
}

impl RpcCode {
    /// The code of an answer whose headers have this `grpc-status`; without one, the answer goes on, and is OK.
    pub fn of_header(status: Option<&[u8]>) -> Self {
        let Some(status) = status else { return Self::Ok };
        let number = str::from_utf8(status).ok().and_then(|status| status.parse::<usize>().ok());
        number.and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unknown)
    }

    /// Whether the conventions count it as an error of the server: the others tell the caller what it did.
    pub const fn is_servers_fault(self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::DeadlineExceeded
                | Self::Unimplemented
                | Self::Internal
                | Self::Unavailable
                | Self::DataLoss
        )
    }
}
