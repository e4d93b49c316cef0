//! The methods that semel serves, as metrics and traces name them.

macro_rules! methods {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A method of the contract, or of the services beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the contract documents its methods")]
        pub enum Method { $($variant),+ }

        impl Method {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// `service/method`, as `rpc.method` carries it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

methods! {
    Begin = "semel.v1.IdempotencyService/Begin",
    Complete = "semel.v1.IdempotencyService/Complete",
    Abort = "semel.v1.IdempotencyService/Abort",
    Lookup = "semel.v1.IdempotencyService/Lookup",
    Renew = "semel.v1.IdempotencyService/Renew",
    SaveCheckpoint = "semel.v1.IdempotencyService/SaveCheckpoint",
    BatchBegin = "semel.v1.IdempotencyService/BatchBegin",
    BatchComplete = "semel.v1.IdempotencyService/BatchComplete",
    ListRecords = "semel.v1.OperatorService/ListRecords",
    ResolveRecord = "semel.v1.OperatorService/ResolveRecord",
    ForgetRecord = "semel.v1.OperatorService/ForgetRecord",
    GetPolicy = "semel.v1.OperatorService/GetPolicy",
    HealthCheck = "grpc.health.v1.Health/Check",
    Other = "_OTHER",
}

impl Method {
    /// The method that a request's path names; [`Method::Other`] where semel does not serve it, so that callers cannot
    /// make up names.
    pub fn of_path(path: &str) -> Self {
        let name = path.strip_prefix('/').unwrap_or_default();
        Self::ALL.iter().copied().find(|method| method.name() == name).unwrap_or(Self::Other)
    }

    /// The method without its service.
    pub fn short_name(self) -> &'static str {
        self.name().rsplit('/').next().unwrap_or_default()
    }

    /// Whether the method is one for operators.
    pub fn is_operators(self) -> bool {
        self.name().starts_with("semel.v1.OperatorService/")
    }

    /// Whether the method is one of the contract's.
    pub fn is_of_contract(self) -> bool {
        !matches!(self, Self::HealthCheck | Self::Other)
    }
}
