//! The machines under the model checker `stateright`: every order of events, up to small bounds.

use stateright::{Checker, Model, Property};
use vioduct_vios::block::{Extent, Request};

use super::oracle::Broken;
use super::plan::{Budget, Plan};
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
            Property::sometimes("all is answered", |model: &Self, world: &World| {
                world.oracle.answers.0 as usize == model.0.script.len()
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        let epochs = world.seats.iter().flatten().map(|owner| owner.epoch().seq);
        epochs.max().unwrap_or(0) <= self.0.seq_max
    }
}

fn write(offset: u64) -> Request {
    Request::Write { offset, data: bytes::Bytes::from_static(&[0]), fua: false }
}

fn read(offset: u64, length: u32) -> Request {
    Request::Read { extent: Extent { offset, length } }
}

/// Explores every state; what was broken, and how many states there are.
fn explore(plan: Plan) -> (Option<Broken>, usize) {
    let started = std::time::Instant::now();
    let checker = Small(plan).checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{states} states, {} ms", started.elapsed().as_millis());
    let mut broken = None;
    for (name, path) in checker.discoveries() {
        if name != "all is answered" {
            broken = path.last_state().oracle.broken;
            println!("{name} is violated by {:#?}", path.into_actions());
        }
    }
    (broken, states)
}

#[test]
fn nothing_is_lost_when_the_storage_loses_its_power_once() {
    let mut plan = Plan::small(vec![write(0), write(0), read(0, 1), Request::Flush]);
    plan.budget = Budget { power_cuts: 1, ticks: 1, ..plan.budget };
    let (broken, states) = explore(plan);
    assert_eq!(broken, None);
    assert!(states > 1000, "{states}");
}
