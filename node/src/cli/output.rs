//! How commands answer: text for people, JSON for programs, both on standard output.

use std::fmt::Display;
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// The form of a command's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Lines for people; may change from release to release.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

impl OutputFormat {
    /// Prints `answer` as it displays itself, or as JSON.
    pub(crate) fn print(self, answer: &(impl Display + Serialize)) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self {
            Self::Text => write!(stdout, "{answer}")?,
            Self::Json => {
                serde_json::to_writer_pretty(&mut stdout, answer)?;
                writeln!(stdout)?;
            }
        }
        stdout.flush()
    }

    /// Prints one of many answers as a line of its own, at once.
    pub(crate) fn print_line(self, answer: &(impl Display + Serialize)) -> io::Result<()> {
        match self {
            Self::Text => print_line(answer),
            Self::Json => print_line(serde_json::to_string(answer)?),
        }
    }
}

/// Prints a line at once, for those who follow along.
pub(crate) fn print_line(line: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
