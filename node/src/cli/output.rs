//! How commands answer: text for people, JSON for programs, both on standard output; and why they
//! don't, on standard error.

use std::fmt::{self, Display};
use std::io::{self, Write};

use clap::ValueEnum;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use vioduct_node::status::SCHEMA;

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

    /// Prints why there is no answer, on standard error. Nothing more can be done if that fails.
    pub(crate) fn fail(self, failure: &(impl Display + Serialize)) {
        match self {
            Self::Text => eprint!("{failure}"),
            Self::Json => {
                let text = serde_json::to_string(failure).expect("plain values");
                eprintln!("{text}");
            }
        }
    }

    /// Prints one of many answers as a line of its own, at once.
    pub(crate) fn print_line(self, answer: &(impl Display + Serialize)) -> io::Result<()> {
        match self {
            Self::Text => print_line(answer),
            Self::Json => print_line(serde_json::to_string(answer)?),
        }
    }
}

/// Answer of a command that has changed one thing.
#[derive(Debug)]
pub(crate) struct Done<T> {
    kind: &'static str,
    which: T,
    done: String,
}

impl<T> Done<T> {
    /// `kind` is what `which` is; `done` says in words what was done.
    pub(crate) const fn new(kind: &'static str, which: T, done: String) -> Self {
        Self { kind, which, done }
    }
}

impl<T: Serialize> Serialize for Done<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("schema", &SCHEMA)?;
        map.serialize_entry(self.kind, &self.which)?;
        map.serialize_entry("done", &self.done)?;
        map.end()
    }
}

impl<T> Display for Done<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.done)
    }
}

/// Prints a line at once, for those who follow along.
pub(crate) fn print_line(line: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
