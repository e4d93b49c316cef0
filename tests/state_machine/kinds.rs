//! One list that is both a match and a list of names.

/// Makes a function that names the kind of a value, and the list of all the names. A new variant does not compile before
/// it has an arm here, and an arm whose name nothing in the table bears fails a test.
macro_rules! kinds {
    ($(#[$doc:meta])* $function:ident($type:ty) in $all:ident {
        $($pattern:pat_param => $name:literal),+ $(,)?
    }) => {
        pub(crate) const $all: &[&str] = &[$($name),+];

        $(#[$doc])*
        pub(crate) fn $function(value: $type) -> &'static str {
            match value { $($pattern => $name),+ }
        }
    };
}

pub(crate) use kinds;
