//! Random schedules: thousands of runs, each with sizes, requests and faults that follow from its
//! seed. First anything may fail, and safety is checked at each step; then nothing fails any more,
//! and every request must be answered.
//!
//! `REDIRECT_SEED=n` runs that one and prints its steps; `REDIRECT_SCHEDULES=n` runs so many.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use bytes::Bytes;
use vioduct_vios::block::{Extent, Request};
use vioduct_vios::redirect::limits::{OwnerLimits, RelayLimits, StoreLimits};
use vioduct_vios::redirect::{Moment, owner, relay, store};

use super::oracle::Broken;
use super::plan::{Budget, Links, MS, NEVER, Plan, Plant};
use super::world::{Step, World};

/// How a schedule failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failed {
    Safety(Broken),
    /// Requests are not answered though nothing fails any more.
    Stuck,
}

fn extent(rng: &mut StdRng, cells: u32) -> Extent {
    let offset = rng.random_range(0..cells);
    let length = rng.random_range(1..=(cells - offset).min(3));
    Extent { offset: u64::from(offset), length }
}

fn request(rng: &mut StdRng, cells: u32) -> Request {
    let extent = extent(rng, cells);
    let fua = rng.random_ratio(1, 8);
    match rng.random_range(0..20) {
        0..9 => {
            let data = Bytes::from(vec![0; extent.length as usize]);
            Request::Write { offset: extent.offset, data, fua }
        }
        9..15 => Request::Read { extent },
        15..18 => Request::Flush,
        18 => Request::Trim { extent, fua },
        _ => Request::WriteZeroes { extent, fua, may_punch: true, only_fast: false },
    }
}

fn budget(rng: &mut StdRng, asks: u8) -> Budget {
    let mut up_to = |most: u8| if rng.random_bool(0.5) { rng.random_range(0..=most) } else { 0 };
    Budget {
        asks,
        cuts: up_to(4),
        store_kills: up_to(2),
        power_cuts: up_to(2),
        owner_kills: up_to(2),
        attaches: 0,
        relay_kills: up_to(2),
        fabric_losses: up_to(3),
        fsync_failures: up_to(2),
        op_failures: up_to(1),
        duplicates: up_to(2),
        ticks: up_to(6),
        losses: up_to(2),
        closes: up_to(1),
        spoils: up_to(2),
        shuffles: up_to(2),
    }
}

pub(crate) fn plan(seed: u64, plant: Plant) -> Plan {
    let rng = &mut StdRng::seed_from_u64(seed);
    let cells = rng.random_range(2..=6_u32);
    let asks = rng.random_range(4..=40_u8);
    let script = (0..asks).map(|_| request(rng, cells)).collect();
    let mut budget = budget(rng, asks);
    budget.attaches = budget.owner_kills + budget.closes + rng.random_range(0..=1);
    let owner = OwnerLimits {
        requests_max: rng.random_range(1..=8),
        request_bytes_max: 12,
        under_way_max: rng.random_range(1..=4),
        under_way_first: rng.random_range(1..=4),
        dirty_bytes_max: rng.random_range(0..=8),
        dirty_ranges_max: rng.random_range(4..=6),
        silence_max: 10 * MS,
        open_max: 10 * MS,
        backoff_min: MS,
        backoff_max: 4 * MS,
        hold_max: if rng.random_ratio(1, 3) { 5 * MS } else { NEVER / 4 },
        little_dirty_bytes: rng.random_range(0..=2),
        move_flushes_max: 2,
        home_after: 3 * MS,
        home_after_max: 50 * MS,
        is_write_through: rng.random_ratio(1, 10),
        unresolved_max: 64,
        flush_from_bytes: if seed.is_multiple_of(2) { 4 } else { u64::MAX },
        flush_from_ranges: if seed.is_multiple_of(3) { 2 } else { usize::MAX },
    };
    let store = StoreLimits {
        lus_max: 1,
        requests_max: 4,
        device_depth: rng.random_range(1..=3),
        request_bytes_max: 8,
        alive_every: 2 * MS,
    };
    let relay = RelayLimits { routes_max: 8, peers_max: 3, hysteresis: MS };
    Plan {
        cells: cells as usize,
        vioses: rng.random_range(1..=3),
        near: rng.random_range(0..=3),
        adapters: rng.random_range(1..=2),
        owner,
        store,
        relay,
        links: Links::Queued,
        budget,
        script,
        seq_max: u64::MAX,
        plant,
    }
}

/// The machine whose deadline comes first, the storage before others.
fn next_tick(world: &World) -> Option<Step> {
    let store = world.store.as_ref().and_then(store::Store::deadline);
    let store = store.map(|at| (at, 0, Step::StoreTick));
    let owners = world.seats.iter().enumerate();
    let owners = owners.filter_map(|(seat, owner)| {
        let at = owner.as_ref().and_then(owner::Owner::deadline)?;
        Some((at, 1, Step::Tick(seat)))
    });
    let relays = (0..).zip(&world.relays).filter_map(|(vios, relay)| {
        let at = relay.as_ref().and_then(relay::Relay::deadline)?;
        Some((at, 2, Step::RelayTick(vios)))
    });
    let all: Vec<(Moment, u8, Step)> = store.into_iter().chain(owners).chain(relays).collect();
    all.into_iter().min_by_key(|(at, order, _)| (*at, *order)).map(|(_, _, step)| step)
}

struct Run<'a> {
    plan: &'a Plan,
    world: World,
    rng: StdRng,
    is_shown: bool,
}

impl Run<'_> {
    fn step(&mut self, step: Step) -> Result<(), Failed> {
        self.world.apply(self.plan, step);
        if self.is_shown {
            println!("{step:?}: {}", self.world.brief());
        }
        self.world.oracle.broken.map_or(Ok(()), |broken| Err(Failed::Safety(broken)))
    }

    /// Anything may happen.
    fn storm(&mut self) -> Result<(), Failed> {
        let fault_in = self.rng.random_range(4..40);
        for _ in 0..400 {
            let mut steps = Vec::new();
            if self.rng.random_ratio(1, fault_in) {
                self.world.fault_steps(self.plan, &mut steps);
                steps.extend(next_tick(&self.world));
            } else {
                self.world.flow_steps(self.plan, &mut steps);
            }
            let step = steps.choose(&mut self.rng).copied().or_else(|| next_tick(&self.world));
            let Some(step) = step else { break };
            self.step(step)?;
        }
        Ok(())
    }

    /// Nothing fails any more; all that was asked must be answered.
    fn calm(&mut self) -> Result<(), Failed> {
        if self.world.live_seat().is_none() {
            self.world.attach(self.plan);
            self.world.settle(self.plan);
        }
        self.world.budget.asks = 0;
        for _ in 0..20_000 {
            let mut steps = Vec::new();
            self.world.flow_steps(self.plan, &mut steps);
            let is_quiet = steps.is_empty();
            if is_quiet && self.world.is_all_answered() && self.world.is_home() {
                return Ok(());
            }
            let step = steps.choose(&mut self.rng).copied().or_else(|| next_tick(&self.world));
            let Some(step) = step else { return Err(Failed::Stuck) };
            self.step(step)?;
        }
        Err(Failed::Stuck)
    }
}

pub(crate) fn run(seed: u64, plan: &Plan, is_shown: bool) -> Result<(), Failed> {
    let rng = StdRng::seed_from_u64(seed ^ 0x5eed);
    let mut run = Run { plan, world: World::new(plan), rng, is_shown };
    run.storm()?;
    run.calm()
}

pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn no_schedule_loses_undoes_or_repeats_anything_and_all_requests_are_answered() {
    if let Some(seed) = variable("REDIRECT_SEED") {
        let plan = plan(seed, Plant::Nothing);
        println!("{plan:#?}");
        assert_eq!(run(seed, &plan, true), Ok(()), "seed {seed}");
        return;
    }
    let schedules = variable("REDIRECT_SCHEDULES").unwrap_or(4000);
    let mut failed = Vec::new();
    for seed in 0..schedules {
        let plan = plan(seed, Plant::Nothing);
        if let Err(error) = run(seed, &plan, false) {
            failed.push((seed, error));
        }
    }
    println!("{schedules} schedules, {} failed", failed.len());
    failed.truncate(10);
    assert_eq!(failed, [], "run one with REDIRECT_SEED=<seed>");
}
