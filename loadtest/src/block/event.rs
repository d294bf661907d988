//! Commands that run while the load does: faults, mostly.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::sleep_until;

use super::client::Client;
use super::gate::Gate;
use crate::clock::Clock;
use crate::schedule::Halt;

/// A command, and when it ran.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    /// From the start of the measurement.
    pub(crate) at_s: f64,
    pub(crate) took_s: f64,
    pub(crate) command: String,
    /// Absent where a signal ended it.
    pub(crate) exit_code: Option<i32>,
    pub(crate) is_power_cut: bool,
}

/// When to run what.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) after: Duration,
    pub(crate) command: String,
    pub(crate) is_power_cut: bool,
}

/// Runs one command at its time; none if the load ended before.
pub(crate) async fn run(
    planned: Planned,
    start_ns: u64,
    clock: Clock,
    clients: Rc<[Rc<Client>]>,
    gate: Rc<Gate>,
    halt: Halt,
) -> Result<Option<Event>> {
    let Planned { after, command, is_power_cut } = planned;
    if halt.unless(1, sleep_until(clock.at(start_ns) + after)).await.is_none() {
        return Ok(None);
    }
    if is_power_cut && halt.unless(1, gate.close()).await.is_none() {
        return Ok(None);
    }
    let (began, at_s) = (clock.now_ns(), since(start_ns, clock.now_ns()));
    eprintln!("{at_s:>+7.2} s  {command}");
    let mut shell = Command::new("sh");
    // Standard output is the result's.
    let status = shell.args(["-c", &command]).stdout(std::io::stderr()).status().await;
    let exit_code = status.context("can't run sh")?.code();
    let took_s = since(began, clock.now_ns());
    if is_power_cut {
        for client in clients.iter() {
            client.power_cut().await;
        }
        gate.open();
    }
    Ok(Some(Event { at_s, took_s, command, exit_code, is_power_cut }))
}

#[expect(clippy::cast_precision_loss, reason = "times stay far below 2⁵³ ns")]
fn since(start_ns: u64, now_ns: u64) -> f64 {
    now_ns.saturating_sub(start_ns) as f64 / 1e9
}
