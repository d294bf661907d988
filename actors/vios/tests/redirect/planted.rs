//! The checks are checked: each planted bug must be found, by schedules that find nothing without
//! it.

use vioduct_vios::block::Request;

use super::plan::{Budget, MS, Plan, Plant, read, write};
use super::schedules::{plan, run};

/// A schedule with more of the faults that this bug needs.
fn aimed(seed: u64, plant: Plant) -> Plan {
    let mut plan = plan(seed, plant);
    match plant {
        Plant::HeldReleased => {
            // No path is left after a cut.
            plan.adapters = 1;
            plan.owner.hold_max = MS;
            plan.owner.dirty_bytes_max = 8;
            plan.owner.requests_max = 8;
            plan.owner.is_write_through = false;
            for request in &mut plan.script {
                *request = match request {
                    Request::Write { .. } => write(0),
                    _ => read(0, 1),
                };
            }
            let Budget { asks, .. } = plan.budget;
            plan.budget = Budget { asks, cuts: 4, power_cuts: 2, ticks: 12, ..Budget::default() };
        }
        Plant::SyncNotNoted => {
            plan.owner.dirty_bytes_max = 8;
            plan.owner.is_write_through = false;
            for (index, request) in plan.script.iter_mut().enumerate() {
                *request = if index % 2 == 0 { write(0) } else { Request::Flush };
            }
            let Budget { asks, .. } = plan.budget;
            let (store_kills, owner_kills, attaches) = (2, 2, 2);
            let some = Budget { asks, store_kills, owner_kills, attaches, ..Budget::default() };
            plan.budget = Budget { fsync_failures: 2, ..some };
        }
        _ => {}
    }
    plan
}

/// Schedules until one fails, and how; that schedule passes without the plant.
fn find(plant: Plant) {
    const SCHEDULES: u64 = 30_000;
    let found = (0..SCHEDULES).find_map(|seed| {
        let failed = run(seed, &aimed(seed, plant), false).err()?;
        Some((seed, failed))
    });
    let Some((seed, failed)) = found else { panic!("{plant:?} was not found") };
    println!("{plant:?}: schedule {seed}, {failed:?}");
    for seed in 0..=seed {
        let plan = Plan { plant: Plant::Nothing, ..aimed(seed, plant) };
        assert_eq!(run(seed, &plan, false), Ok(()), "schedule {seed} without the plant");
    }
}

macro_rules! planted {
    ($($name:ident: $plant:ident,)*) => {
        $(#[test]
        fn $name() {
            find(Plant::$plant);
        })*
    };
}

planted! {
    a_storage_without_a_fence_is_found: NoFence,
    a_record_that_is_not_durable_is_found: RecordNotDurable,
    an_lu_that_is_open_after_a_start_is_found: OpenAfterStart,
    requests_checked_on_arrival_only_are_found: CheckedOnArrival,
    a_replay_that_newer_writes_pass_is_found: ReplayInBackground,
    a_life_that_is_hidden_is_found: LifeHidden,
    a_loss_that_is_settled_untold_is_found: SettledForged,
    a_start_that_does_not_wait_for_the_kernel_is_found: NoLockAtStart,
    a_held_write_that_an_eio_releases_is_found: HeldReleased,
    a_second_raiser_is_found: SecondRaiser,
    a_session_begun_before_the_device_is_drained_is_found: NoDrain,
    an_fsync_that_is_tried_again_is_found: FsyncTriedAgain,
    a_sync_that_is_not_noted_is_found: SyncNotNoted,
    a_flush_acknowledged_early_is_found: FlushAcknowledgedEarly,
}
