//! How far a copy is, on standard error.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::interval;
use vioduct_vios::copy::Copied;

/// How often a terminal's line is written anew, and how often another line is added elsewhere.
const REDRAW_EVERY: Duration = Duration::from_millis(250);
const LINE_EVERY: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

/// Tells how far a copy is.
pub(super) struct Progress {
    bytes: u64,
    copied: Cell<Copied>,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes, copied: Cell::default(), is_terminal: io::stderr().is_terminal() }
    }

    pub(super) fn note(&self, copied: Copied) {
        self.copied.set(copied);
    }

    /// Tells it again and again, for as long as it is polled.
    pub(super) async fn show(&self) -> Infallible {
        let mut ticks = interval(if self.is_terminal { REDRAW_EVERY } else { LINE_EVERY });
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let line = line(self.copied.get(), self.bytes);
            if self.is_terminal { redraw(&line) } else { say(&line) }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            redraw("");
        }
    }
}

fn line(Copied { done, written }: Copied, bytes: u64) -> String {
    let percent = u128::from(done) * 100 / u128::from(bytes.max(1));
    format!("{percent}% of {} MiB, {} MiB written", bytes / MIB, written / MIB)
}

/// Nobody may be reading.
fn redraw(line: &str) {
    let mut stderr = io::stderr().lock();
    write!(stderr, "\r{line}\x1b[K").and_then(|()| stderr.flush()).ok();
}

/// One line for people, on standard error. Nobody may be reading.
pub(super) fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_whole_percent_of_any_size() {
        let at = |done, bytes| line(Copied { done, written: done / 2 }, bytes);
        assert_eq!(at(3 * MIB, 8 * MIB), "37% of 8 MiB, 1 MiB written");
        assert_eq!(at(0, 0), "0% of 0 MiB, 0 MiB written");
        assert_eq!(at(1 << 50, 1 << 50), "100% of 1073741824 MiB, 536870912 MiB written");
    }
}
