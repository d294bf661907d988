//! Processor time from `/proc`, of some processes and of everything else meanwhile.

use std::fs;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// Units of processor time per second in `/proc`; fixed by the kernel's interface to user space.
const TICKS_PER_S: f64 = 100.0;

/// What a measured window used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Length of the window in seconds.
    pub elapsed_s: f64,
    /// User and system time of the measured processes together, in seconds.
    pub cpu_s: f64,
    /// Share of the machine's processor time that went to anything else, in per cent.
    pub foreign_cpu_percent: f64,
}

/// A running measurement.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    begin: Reading,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    ours_ticks: u64,
    children_ticks: u64,
    machine: MachineTicks,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct MachineTicks {
    total: u64,
    idle: u64,
}

impl Meter {
    /// Begins a window for this process and the server.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn start(server_pid: Option<u32>) -> Result<Self> {
        Self::of([std::process::id()].into_iter().chain(server_pid).collect())
    }

    /// Begins a window for these processes.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn of(pids: Vec<u32>) -> Result<Self> {
        let begin = Reading::take(&pids)?;
        Ok(Self { pids, begin })
    }

    /// Ends the window.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn stop(self) -> Result<Usage> {
        let end = Reading::take(&self.pids)?;
        let ours = end.ours_ticks.saturating_sub(self.begin.ours_ticks);
        let total = end.machine.total.saturating_sub(self.begin.machine.total);
        let idle = end.machine.idle.saturating_sub(self.begin.machine.idle);
        // What this process waited for within the window, such as a load generator, is not foreign.
        let children = end.children_ticks.saturating_sub(self.begin.children_ticks);
        let foreign = total.saturating_sub(idle).saturating_sub(ours + children);
        Ok(Usage {
            elapsed_s: end.at.duration_since(self.begin.at).as_secs_f64(),
            cpu_s: ticks(ours) / TICKS_PER_S,
            foreign_cpu_percent: if total == 0 {
                0.0
            } else {
                100.0 * ticks(foreign) / ticks(total)
            },
        })
    }
}

impl Reading {
    fn take(pids: &[u32]) -> Result<Self> {
        let mut ours_ticks = 0;
        for pid in pids {
            ours_ticks += times(&stat_of(*pid)?, OWN_TIMES)?;
        }
        let children_ticks = times(&stat_of(std::process::id())?, CHILDREN_TIMES)?;
        let machine = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        let machine = machine_ticks(&machine)?;
        Ok(Self { at: Instant::now(), ours_ticks, children_ticks, machine })
    }
}

fn stat_of(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/stat");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// Where a process's own times begin behind its name, and those of its children that it has waited
/// for. Source: proc(5), `/proc/[pid]/stat`, fields 14 to 17.
const OWN_TIMES: usize = 11;
const CHILDREN_TIMES: usize = 13;

/// User and system time.
fn times(stat: &str, first: usize) -> Result<u64> {
    // The name of the program, in brackets, may itself hold spaces and brackets.
    let (_name, fields) = stat.rsplit_once(')').context("process stat without a name")?;
    let mut times = fields.split_ascii_whitespace().skip(first);
    let user: u64 = times.next().context("process stat without a user time")?.parse()?;
    let system: u64 = times.next().context("process stat without a system time")?.parse()?;
    Ok(user + system)
}

/// All and idle time of the machine; `guest` is part of `user`. Source: proc(5), `/proc/stat`.
fn machine_ticks(stat: &str) -> Result<MachineTicks> {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let fields = line.context("no cpu line in /proc/stat")?.split_ascii_whitespace().take(8);
    let (mut total, mut idle) = (0, 0);
    for (index, field) in fields.enumerate() {
        let spent: u64 = field.parse().context("a number in /proc/stat")?;
        total += spent;
        // Idle, and waiting for a disk.
        if index == 3 || index == 4 {
            idle += spent;
        }
    }
    Ok(MachineTicks { total, idle })
}

fn ticks(count: u64) -> f64 {
    // A window is far shorter than the 2⁵³ ticks up to which this is exact.
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) R 1 2 3 4 5 6 7 8 9 10 120 30 7 1 20 0 1";
        assert_eq!(times(stat, OWN_TIMES).unwrap(), 150);
        assert_eq!(times(stat, CHILDREN_TIMES).unwrap(), 8);
    }

    #[test]
    fn waiting_for_a_disk_is_idle_and_guests_are_counted_once() {
        let stat = "cpu  10 1 5 100 20 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(machine_ticks(stat).unwrap(), MachineTicks { total: 145, idle: 120 });
    }
}
