//! The machines under the model checker `stateright`: every order of events, up to small bounds.

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model, Property};
use vioduct_vios::block::Request;

use super::oracle::Broken;
use super::plan::{Budget, Plan, Plant, read, write};
use super::schedules::variable;
use super::world::{Step, World};

#[derive(Clone, Debug)]
struct Small(Plan);

impl Model for Small {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.0)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.oracle.broken.is_none() {
            steps.extend(world.enabled(&self.0));
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.apply(&self.0, step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn holds<const P: usize>(_: &Small, world: &World) -> bool {
            world.oracle.broken != Some(super::oracle::ALL[P].1)
        }
        vec![
            Property::always("P1 no ghost", holds::<0>),
            Property::always("P2 one owner", holds::<1>),
            Property::always("P3 reads", holds::<2>),
            Property::always("P4 nothing lost", holds::<3>),
            Property::always("P5 honest flush", holds::<4>),
            Property::always("P6 once", holds::<5>),
            Property::always("P7 no resurrection", holds::<6>),
            Property::always("P8 hops", holds::<7>),
            Property::always("P9 bounds", holds::<8>),
            Property::sometimes(ANSWERED, |model: &Self, world: &World| {
                world.oracle.answers.0 as usize == model.0.script.len()
            }),
            Property::sometimes(AGAIN, |_: &Self, world: &World| {
                let mut owners = world.seats.iter().flatten();
                owners.any(|owner| owner.is_serving() && owner.epoch().seq > 1)
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        let epochs = world.seats.iter().flatten().map(|owner| owner.epoch().seq);
        epochs.max().unwrap_or(0) <= self.0.seq_max
    }
}

/// What must be reached, lest nothing was checked.
const ANSWERED: &str = "all is answered";
const AGAIN: &str = "a session after the first one is served";

/// Explores every state, up to `states_max`; what was broken, and how many states there are.
fn explore(plan: Plan, states_max: Option<usize>) -> (Option<Broken>, usize) {
    let builder = Small(plan).checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let builder = match states_max {
        Some(states) => builder.target_state_count(states),
        None => builder,
    };
    let checker = builder.spawn_bfs().join();
    let states = checker.unique_state_count();
    let is_all = states_max.is_none_or(|most| checker.state_count() < most);
    let all = if is_all { "all" } else { "not all" };
    println!("{states} states, {all}, {} steps deep", checker.max_depth());
    let mut broken = None;
    for (name, path) in checker.discoveries() {
        if name != ANSWERED && name != AGAIN {
            broken = path.last_state().oracle.broken;
            println!("{name} is violated by {:?}", path.into_actions());
        }
    }
    if broken.is_none() && states_max.is_none() {
        assert!(checker.discovery(ANSWERED).is_some() && checker.discovery(AGAIN).is_some());
    }
    (broken, states)
}

/// Every state of the small plan. With `REDIRECT_MODEL=<states>` those of the plan with more
/// faults, up to so many.
fn check(small: Plan, more: Budget) {
    let Some(states_max) = variable("REDIRECT_MODEL") else {
        let (broken, states) = explore(small, None);
        assert_eq!(broken, None);
        assert!(states > 1000, "{states}: nothing was explored");
        return;
    };
    let plan = Plan { budget: more, ..small };
    assert_eq!(explore(plan, usize::try_from(states_max).ok()).0, None);
}

/// One VIOS, two requests under way.
fn narrow(script: Vec<Request>) -> Plan {
    let mut plan = Plan::small(script);
    plan.vioses = 1;
    plan.cells = 1;
    plan.owner.under_way_max = 2;
    plan.store.device_depth = 1;
    plan
}

#[test]
fn the_storage_loses_its_power() {
    let mut plan = narrow(vec![write(0), write(1), read(0, 2), write(0), Request::Flush]);
    plan.cells = 2;
    plan.budget = Budget { power_cuts: 2, ..plan.budget };
    let more = Budget { cuts: 1, ..plan.budget };
    check(plan, more);
}

#[test]
fn a_second_owner_attaches_and_the_storage_restarts() {
    let mut plan = narrow(vec![write(0), read(0, 1)]);
    plan.budget = Budget { attaches: 1, store_kills: 1, ..plan.budget };
    plan.seq_max = 2;
    let more = Budget { cuts: 1, ..plan.budget };
    check(plan, more);
}

#[test]
fn a_path_falls_silent_and_its_messages_come_late() {
    let mut plan = narrow(vec![write(0), write(0)]);
    plan.vioses = 2;
    plan.owner.under_way_max = 1;
    plan.budget = Budget { cuts: 1, ticks: 1, ..plan.budget };
    let more = Budget { cuts: 2, ..plan.budget };
    check(plan, more);
}

#[test]
fn a_vios_has_two_adapters_and_loses_one_fabric_after_the_other() {
    let mut plan = narrow(vec![write(0), write(0)]);
    plan.adapters = 2;
    plan.owner.under_way_max = 1;
    plan.budget = Budget { cuts: 1, fabric_losses: 1, ..plan.budget };
    let more = Budget { cuts: 2, fabric_losses: 2, ticks: 1, ..plan.budget };
    check(plan, more);
}

#[test]
fn an_owner_loses_the_vios_of_its_cec_and_goes_home_again() {
    let mut plan = narrow(vec![write(0), write(0)]);
    plan.vioses = 2;
    plan.near = 1;
    plan.seq_max = 4;
    plan.owner.home_after = Duration::ZERO;
    plan.owner.under_way_max = 1;
    plan.budget = Budget { relay_kills: 1, ticks: 1, ..plan.budget };
    let more = Budget { relay_kills: 2, ticks: 2, cuts: 1, ..plan.budget };
    check(plan, more);
}

#[test]
fn an_fsync_fails_and_the_storage_and_the_owner_die() {
    let mut plan = narrow(vec![write(0), Request::Flush, Request::Flush]);
    plan.owner.requests_max = 1;
    plan.budget = Budget { fsync_failures: 1, store_kills: 1, attaches: 1, ..plan.budget };
    plan.owner.under_way_max = 1;
    plan.seq_max = 2;
    let more = Budget { owner_kills: 1, ..plan.budget };
    check(plan, more);
}

#[test]
fn a_write_is_answered_with_an_error_and_the_power_fails() {
    let mut plan = narrow(vec![write(0), write(0), read(0, 1)]);
    plan.owner.hold_max = Duration::ZERO;
    plan.budget = Budget { cuts: 1, power_cuts: 1, ticks: 2, ..plan.budget };
    plan.owner.under_way_max = 1;
    let more = Budget { power_cuts: 2, ..plan.budget };
    check(plan, more);
}

#[test]
fn the_owner_dies_and_the_power_fails() {
    let mut plan = narrow(vec![write(0), Request::Flush]);
    plan.budget = Budget { power_cuts: 1, owner_kills: 1, attaches: 1, ..plan.budget };
    plan.seq_max = 2;
    let more = Budget { power_cuts: 2, ..plan.budget };
    check(plan, more);
}

/// The model finds a planted bug, and nothing without it.
fn finds(plant: Plant, plan: Plan) {
    let (broken, _) = explore(Plan { plant, ..plan.clone() }, None);
    assert!(broken.is_some(), "{plant:?} was not found");
    assert_eq!(explore(plan, None).0, None);
}

#[test]
fn the_model_finds_a_storage_without_a_fence() {
    let mut plan = narrow(vec![write(0), write(0)]);
    plan.budget = Budget { cuts: 1, ..plan.budget };
    finds(Plant::NoFence, plan);
}

#[test]
fn the_model_finds_a_session_begun_before_the_device_is_drained() {
    let mut plan = narrow(vec![write(0), write(0)]);
    plan.budget = Budget { cuts: 1, ..plan.budget };
    finds(Plant::NoDrain, plan);
}

#[test]
fn the_model_finds_a_record_that_is_not_durable() {
    let mut plan = narrow(vec![write(0)]);
    plan.seq_max = 2;
    plan.budget = Budget { attaches: 1, store_kills: 1, ..plan.budget };
    finds(Plant::RecordNotDurable, plan);
}

#[test]
fn the_model_finds_a_life_that_is_hidden() {
    let mut plan = narrow(vec![write(0), read(0, 1)]);
    plan.budget = Budget { power_cuts: 1, ..plan.budget };
    finds(Plant::LifeHidden, plan);
}

#[test]
fn the_model_finds_a_loss_that_is_settled_untold() {
    let mut plan = narrow(vec![write(0), Request::Flush]);
    plan.seq_max = 2;
    plan.budget = Budget { power_cuts: 1, owner_kills: 1, attaches: 1, ..plan.budget };
    finds(Plant::SettledForged, plan);
}

#[test]
fn the_model_finds_a_sync_that_is_not_noted() {
    let mut plan = narrow(vec![write(0), Request::Flush, Request::Flush]);
    plan.owner.requests_max = 1;
    plan.owner.under_way_max = 1;
    plan.seq_max = 2;
    plan.budget = Budget { fsync_failures: 1, store_kills: 1, attaches: 1, ..plan.budget };
    let (broken, _) = explore(Plan { plant: Plant::SyncNotNoted, ..plan }, None);
    assert_eq!(broken, Some(Broken::LyingFlush));
}

#[test]
fn the_model_finds_a_held_write_that_an_eio_releases() {
    let mut plan = narrow(vec![write(0), write(0), read(0, 1)]);
    plan.owner.hold_max = Duration::ZERO;
    plan.owner.under_way_max = 1;
    plan.budget = Budget { cuts: 1, power_cuts: 1, ticks: 2, ..plan.budget };
    let (broken, _) = explore(Plan { plant: Plant::HeldReleased, ..plan }, None);
    assert!(broken.is_some());
}
