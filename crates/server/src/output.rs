//! What the user reads: results on stdout, errors on stderr. Logs go elsewhere.

use std::io::Write as _;

/// One line on stdout. A closed pipe is not an error of ours.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// The reason of a failure, in the form of the official CLI.
pub(crate) fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "Error: {text}");
}
