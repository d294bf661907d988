//! Why a command ended, as the person at the terminal needs it.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitStatus;

/// What is printed, and the exit code of the process.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    /// Something did not work or did not pass.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// The command line was wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }

    /// A file or directory could not be used.
    pub(crate) fn file(path: &Path, why: impl Display) -> Self {
        Self::new(format!("{}: {why}", path.display()))
    }

    /// A child process ended unhappily; its code becomes ours where it has one.
    pub(crate) fn child(name: &str, status: ExitStatus) -> Self {
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Self { message: format!("{name} ended with {status}"), code }
    }
}
