//! What happens to the nodes of a database, and when: drawn from the seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::message::NodeId;
use super::super::schedule::storm;
use super::super::weather::Conditions;
use super::{NODES, Setup};

/// The first fault comes after this, virtual milliseconds.
const FAULTS_START_MS: u64 = 2500;
/// From here on nothing fails any more, virtual milliseconds.
pub(super) const FAULTS_END_MS: u64 = 25_000;

/// To whom it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// To this node.
    Node(NodeId),
    /// To whoever leads then; to nobody if none does.
    Leader,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The node stops at once, and starts again with what its disk has.
    Crash(Target),
    /// All stop at once, and start again.
    CrashAll,
    /// Nothing passes between the node and any other one.
    CutOff(Target),
    /// Nothing that the node sends arrives.
    Mute(Target),
    /// Nothing arrives at the node.
    Deafen(Target),
    /// Nothing passes between the two.
    Cut(NodeId, NodeId),
    /// What passes between the node and any other one waits until the end of this.
    Hold(Target),
    /// Between the node and any other one there is such weather.
    Storm(Target, Conditions),
    /// The lead is handed to this node. No fault, and tried in the midst of all.
    Lead(NodeId),
}

/// Something that happens, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at_ms: u64,
    pub(super) until_ms: u64,
    pub(super) fault: Fault,
}

fn node(rng: &mut StdRng) -> NodeId {
    NodeId(rng.random_range(1..=NODES))
}

fn target(rng: &mut StdRng) -> Target {
    if rng.random_bool(0.6) { Target::Leader } else { Target::Node(node(rng)) }
}

fn fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..100) {
        0..25 => Fault::Crash(target(rng)),
        25..33 => Fault::CrashAll,
        33..45 => Fault::CutOff(target(rng)),
        45..52 => Fault::Mute(target(rng)),
        52..59 => Fault::Deafen(target(rng)),
        59..65 => {
            let one = node(rng);
            Fault::Cut(one, NodeId(one.0 % NODES + 1))
        }
        65..72 => Fault::Hold(target(rng)),
        72..82 => Fault::Storm(target(rng), storm(rng)),
        _lead => Fault::Lead(node(rng)),
    }
}

/// What happens in a run, by time. Everything ends by [`FAULTS_END_MS`].
pub(super) fn draw(setup: Setup) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(setup.seed_for([1, 0, 0, 0]));
    let mut steps = Vec::new();
    let mut at_ms = FAULTS_START_MS;
    while at_ms < FAULTS_END_MS {
        let fault = fault(&mut rng);
        // From shorter than a heartbeat to longer than several elections.
        let most_ms = 1 << rng.random_range(6..13);
        let lasts_ms = rng.random_range(most_ms / 2..=most_ms);
        steps.push(Step { at_ms, until_ms: FAULTS_END_MS.min(at_ms + lasts_ms), fault });
        at_ms += rng.random_range(100..3500);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_function_of_the_seed_and_ends_in_time() {
        for seed in 0..200 {
            let setup = Setup { seed, plant: None };
            let steps = draw(setup);
            assert_eq!(steps, draw(setup));
            assert_ne!(steps, draw(Setup { seed: seed + 1, ..setup }));
            assert!(steps.iter().all(|step| step.until_ms <= FAULTS_END_MS));
            let faults = steps.iter().filter(|step| !matches!(step.fault, Fault::Lead(_)));
            assert!(faults.count() >= 3, "seed {seed}");
        }
    }
}
