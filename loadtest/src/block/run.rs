//! A run: connect, fill, load, read back.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use vioduct_vios::roles::phyp::OpenDisks;

use super::board::Board;
use super::client::{Client, Due};
use super::event::{self, Event, Planned};
use super::gate::Gate;
use super::mix::Kind;
use super::report::{ReadBack, Report, Run};
use super::{Parts, Plan};
use crate::cli::BlockArgs;
use crate::clock::Clock;
use crate::control::Control;
use crate::schedule::{Halt, Kept, Room, Schedule, pace, shares};

/// Requests of a client that fill its range, or read it back, at a time.
const SWEEP_DEPTH: u32 = 4;

pub(super) async fn measure(
    args: &BlockArgs,
    plan: &Plan,
    mut control: Control,
    disks: Option<OpenDisks>,
) -> Result<Report> {
    let parts = Parts {
        args,
        plan,
        disks,
        clock: Clock::start(),
        board: Rc::new(RefCell::new(Board::new()?)),
        gate: Rc::new(Gate::new()),
        run: rand::random(),
    };
    let connecting = async {
        let mut clients = Vec::with_capacity(plan.clients as usize);
        for number in 0..plan.clients {
            clients.push(Rc::new(parts.client(number).await?));
        }
        anyhow::Ok(clients)
    };
    let clients: Rc<[Rc<Client>]> = control.before("request", connecting).await?.into();
    let halt = control.told();
    let filling = async {
        let is_filled = sweep(&clients, Kind::Write, &halt).await;
        ensure!(is_filled, "the disks could not be filled: {}", first_error(&parts.board));
        Ok(())
    };
    control.before("request", filling).await?;
    let schedule = Schedule::from_now(&parts.clock, args.warmup, args.duration, args.late_after);
    parts.board.borrow_mut().measure_in(schedule.measured_ns.clone());
    let drivers = spawn(&clients, args, &schedule, &halt)?;
    let events = plan_events(args, &clients, &parts, &schedule, &halt);
    let measuring = restart(Rc::clone(&clients), parts.clock.clone(), schedule.clone());
    let measuring = tokio::task::spawn_local(measuring);
    let show = |second| {
        let is_warm_up = second <= args.warmup.as_secs();
        show(second, is_warm_up, &mut parts.board.borrow_mut());
    };
    let kept = control.drive(drivers, show).await?;
    measuring.abort();
    let now_ns = parts.clock.now_ns();
    let stalls = clients.iter().map(|client| {
        let stalls = client.state.borrow().stalls;
        (stalls.worst(now_ns), stalls.longest())
    });
    let stalls = stalls.collect();
    let events = finish(events, &halt).await?;
    let read_back = read_back(&mut control, &clients, args.settle).await;
    let end_ns = now_ns.min(schedule.measured_ns.end);
    let ended = Run {
        measured: Duration::from_nanos(end_ns.saturating_sub(schedule.measured_ns.start)),
        origin_ns: schedule.measured_ns.start,
        kept,
        stalls,
        events,
        read_back,
        is_interrupted: control.is_told(),
    };
    Report::new(args, plan, &clients, &parts.board.borrow(), ended)
}

fn first_error(board: &RefCell<Board>) -> String {
    let board = board.borrow();
    board.errors.first.first().map_or_else(String::new, |error| error.text.clone())
}

/// Every block of every client once. False if some could not be.
async fn sweep(clients: &[Rc<Client>], kind: Kind, halt: &Halt) -> bool {
    let mut sweeps = JoinSet::new();
    for client in clients {
        let (client, halt) = (Rc::clone(client), halt.clone());
        sweeps.spawn_local(async move {
            match kind {
                Kind::Write => client.prepare(SWEEP_DEPTH, &halt).await,
                kind => client.sweep(kind, SWEEP_DEPTH, &halt).await,
            }
        });
    }
    let mut is_whole = true;
    while let Some(swept) = sweeps.join_next().await {
        is_whole &= swept.unwrap_or(false);
    }
    is_whole
}

/// Stalls count from the start of the measurement.
async fn restart(clients: Rc<[Rc<Client>]>, clock: Clock, schedule: Schedule) {
    sleep_until(clock.at(schedule.measured_ns.start)).await;
    for client in clients.iter() {
        client.state.borrow_mut().stalls.restart(clock.now_ns());
    }
}

/// Starts the clients, each with its share of the load.
fn spawn(
    clients: &[Rc<Client>],
    args: &BlockArgs,
    schedule: &Schedule,
    halt: &Halt,
) -> Result<JoinSet<Kept>> {
    let mut drivers = JoinSet::new();
    let total = args.rate.unwrap_or(0);
    let rates = shares(total, clients.len())?;
    for ((index, client), rate) in clients.iter().enumerate().zip(rates) {
        let schedule = schedule.of_sender(index, total);
        let Some(rate) = NonZeroU64::new(rate.into()) else {
            for _one in 0..args.depth {
                let load = Rc::clone(client).closed(schedule.clone(), halt.clone());
                drivers.spawn_local(async {
                    load.await;
                    Kept::default()
                });
            }
            continue;
        };
        let (due, moments) = mpsc::channel(args.depth as usize);
        let load = Rc::clone(client).open(moments, schedule.clone(), halt.clone());
        drivers.spawn_local(async {
            load.await;
            Kept::default()
        });
        let pacer = Pacing { rate, depth: args.depth, clock: client.clock.clone(), due };
        let (halt, runtime) = (halt.clone(), Handle::current());
        drivers.spawn_blocking(move || pacer.run(&schedule, &halt, &runtime));
    }
    Ok(drivers)
}

/// The moments of one client of an open loop, on a thread of its own: the runtime's timers count
/// whole milliseconds.
struct Pacing {
    rate: NonZeroU64,
    depth: u32,
    clock: Clock,
    due: mpsc::Sender<Due>,
}

impl Pacing {
    fn run(self, schedule: &Schedule, halt: &Halt, runtime: &Handle) -> Kept {
        let room = Room::new(self.depth);
        let ready = |last_ns| room.take(last_ns, &self.clock, halt, runtime);
        let send = |place, phase, planned_ns, _now_ns| {
            // It has as many places as there are permits; without its client, nothing is sent.
            drop(self.due.try_send(Due { phase, planned_ns, _place: place }));
        };
        pace(schedule, self.rate, halt, &self.clock, ready, send)
    }
}

type Events = JoinSet<Result<Option<Event>>>;

fn plan_events(
    args: &BlockArgs,
    clients: &Rc<[Rc<Client>]>,
    parts: &Parts<'_>,
    schedule: &Schedule,
    halt: &Halt,
) -> Events {
    let mut events = JoinSet::new();
    let faults = args.at.iter().map(|fault| (fault, false));
    let power_cuts = args.power_cut.iter().map(|fault| (fault, true));
    for ((after, command), is_power_cut) in faults.chain(power_cuts) {
        let planned = Planned { after: *after, command: command.clone(), is_power_cut };
        let start_ns = schedule.measured_ns.start;
        let (clock, gate) = (parts.clock.clone(), Rc::clone(&parts.gate));
        let (clients, halt) = (Rc::clone(clients), halt.clone());
        events.spawn_local(event::run(planned, start_ns, clock, clients, gate, halt));
    }
    events
}

/// Waits for the commands that still run.
async fn finish(mut events: Events, halt: &Halt) -> Result<Vec<Event>> {
    let mut ended = Vec::new();
    while let Some(Some(event)) = halt.unless(2, events.join_next()).await {
        ended.extend(event.context("a command's task ended by itself")??);
    }
    ended.sort_by(|one, two| one.at_s.total_cmp(&two.at_s));
    Ok(ended)
}

/// Reads everything, and again after a while: late writes land meanwhile.
async fn read_back(control: &mut Control, clients: &[Rc<Client>], settle: Duration) -> ReadBack {
    let halt = control.told();
    let passes = if control.is_told() || settle.is_zero() { 1 } else { 2 };
    let reading = async {
        let mut is_whole = sweep(clients, Kind::Read, &halt).await;
        if passes > 1 {
            sleep_until(Instant::now() + settle).await;
            is_whole &= sweep(clients, Kind::Read, &halt).await;
        }
        is_whole
    };
    let is_whole = control.after(reading).await.unwrap_or(false);
    ReadBack { passes, is_whole }
}

fn show(second: u64, is_warm_up: bool, board: &mut Board) {
    let recent = board.take_recent();
    let response = recent.latencies.report().response;
    let phase = if is_warm_up { "  warm-up" } else { "" };
    let (errors, violations) = (board.errors.total, board.violations.total);
    eprintln!(
        "{second:>4} s  {:>8} IOPS  {:>6} MB/s  p50 {:>9.1} us  p99 {:>9.1} us  max {:>9.1} us  \
         errors {errors}  violations {violations}{phase}",
        recent.transfers,
        recent.bytes / 1_000_000,
        response.p50_us,
        response.p99_us,
        response.max_us,
    );
}
