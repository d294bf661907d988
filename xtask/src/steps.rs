//! Runs the steps of a command one after another: says what it does, and how long each took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// The steps run so far. A failed step does not stop the later ones: one run shows all there is
/// to mend.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    took: Duration,
    outcome: Result<(), Failure>,
}

impl Steps {
    /// Runs a child process as a step.
    pub(crate) fn child(&mut self, name: &'static str, command: &mut Command) {
        self.call(name, || run(name, command));
    }

    /// Runs a function as a step.
    pub(crate) fn call(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<(), Failure>,
    ) -> bool {
        announce(name);
        let began = now();
        let outcome = step();
        if let Err(failure) = &outcome {
            println!("==> {name} FAILED: {}", failure.message);
        }
        let passed = outcome.is_ok();
        self.done.push(Step { name, took: began.elapsed(), outcome });
        passed
    }

    /// Prints the time of each step; an error if one of them failed.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        println!("==> times");
        for step in &self.done {
            let verdict = if step.outcome.is_ok() { "ok" } else { "FAILED" };
            println!("    {:<8} {:>7.1} s  {verdict}", step.name, step.took.as_secs_f64());
        }
        let failed: Vec<&str> =
            self.done.iter().filter(|step| step.outcome.is_err()).map(|step| step.name).collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("failed: {}", failed.join(", "))))
    }
}

/// Says on its own line what begins now.
pub(crate) fn announce(what: &str) {
    println!("==> {what} …");
}

/// Runs a child process to its end, with our terminal as its own.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<(), Failure> {
    let status = command
        .status()
        .map_err(|error| Failure::new(format!("{name}: cannot run {command:?}: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::child(name, status)) }
}

/// Whether a program starts and ends well; what it prints is dropped.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[expect(clippy::disallowed_methods, reason = "a step is timed for the person who waits for it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_at_the_end_and_does_not_stop_the_next() {
        let mut steps = Steps::default();
        let mut ran = Vec::new();
        assert!(!steps.call("first", || Err(Failure::new("broken"))));
        assert!(steps.call("second", || {
            ran.push("second");
            Ok(())
        }));
        let failure = steps.finish().unwrap_err();
        assert_eq!(
            (ran, failure.message.as_str(), failure.code),
            (vec!["second"], "failed: first", 1)
        );
    }

    #[test]
    fn the_code_of_a_child_is_passed_on() {
        let failure = run("sh", Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(failure.code, 7);
        assert!(!works(Command::new("sh").args(["-c", "exit 7"])));
        assert!(!works(&mut Command::new("vioduct-no-such-program")));
    }
}
