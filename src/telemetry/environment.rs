//! The standard `OTEL_` variables.

use super::TelemetryError;

/// What `variable` holds; `None` where it is unset or empty, which the specification has mean the same.
pub(super) fn read(variable: &'static str) -> Result<Option<String>, TelemetryError> {
    match std::env::var(variable) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(TelemetryError::Variable { variable, problem: "is not UTF-8".to_owned() })
        }
    }
}

/// The first of `variables` that is set.
pub(super) fn first(variables: &[&'static str]) -> Result<Option<(&'static str, String)>, TelemetryError> {
    for variable in variables {
        if let Some(text) = read(variable)? {
            return Ok(Some((variable, text)));
        }
    }
    Ok(None)
}

/// Says what is wrong with a variable and what would be right.
pub(super) fn refused(variable: &'static str, value: &str, right: &str) -> TelemetryError {
    TelemetryError::Variable { variable, problem: format!("is {value:?}; {right}") }
}
