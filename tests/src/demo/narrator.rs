//! Says what the demonstration does and what came of it, one line each.

use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Prints lines with the time since the start, and counts what went wrong.
#[derive(Debug)]
pub struct Narrator {
    began: Instant,
    failures: Mutex<Vec<String>>,
}

impl Narrator {
    /// Begins the story at `began`.
    pub fn new(began: Instant) -> Self {
        Self { began, failures: Mutex::default() }
    }

    /// Says a line.
    pub fn say(&self, line: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        // A reader that has gone away does not change what is shown.
        writeln!(io::stdout(), "[{seconds:5.1} s] {line}").ok();
    }

    /// Says lines as they are, set in.
    pub fn show(&self, text: &str) {
        for line in text.lines() {
            writeln!(io::stdout(), "          {line}").ok();
        }
    }

    /// Says whether something is as it should be.
    pub fn verdict(&self, is_good: bool, line: &str) {
        self.say(&format!("{} {line}", if is_good { "PASS" } else { "FAIL" }));
        if !is_good {
            let mut failures = self.failures.lock().unwrap_or_else(|held| held.into_inner());
            failures.push(line.to_owned());
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was not as it should be.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(|held| held.into_inner()).clone()
    }
}
