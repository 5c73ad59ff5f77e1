//! Errors as a person reads them: in one line, with their causes.

use std::error::Error;

/// The error and what caused it, parted by colons.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_in_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot\nstart")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no room"));
        assert_eq!(with_causes(&error), "cannot start: no room");
    }
}
