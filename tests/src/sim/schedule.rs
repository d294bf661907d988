//! When what fails: a schedule drawn from the seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::message::NodeId;
use super::weather::Conditions;

/// The first fault comes after this, virtual milliseconds.
const FAULTS_START_MS: u64 = 500;
/// From here on nothing fails any more, virtual milliseconds.
pub const FAULTS_END_MS: u64 = 8000;
/// A link must be up this long after the last fault ended, virtual milliseconds.
///
/// The sum of: a dead connection that one side still believes in (`idle_timeout`, 2 s), a dial
/// begun too early (`handshake_timeout`, 2 s), the longest back-off (1 s), and a second for the
/// handshake itself.
pub const RECOVERY_MS: u64 = 6000;
/// Most nodes: every pair has its links, and every link its flows.
const NODES_MAX: u8 = 8;

/// Which simulation to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    pub(super) seed: u64,
    pub(super) nodes: u8,
}

/// A simulation that does not exist. Fault: the caller. Nothing was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{nodes} nodes; there must be 2 to {NODES_MAX}")]
pub struct SetupError {
    nodes: u8,
}

impl Setup {
    /// Two nodes.
    #[must_use]
    pub const fn pair(seed: u64) -> Self {
        Self { seed, nodes: 2 }
    }

    /// `nodes` nodes, 2 to 8, each with a link to each other one.
    ///
    /// # Errors
    /// [`SetupError`] for another number of nodes.
    pub fn new(seed: u64, nodes: u8) -> Result<Self, SetupError> {
        if (2..=NODES_MAX).contains(&nodes) {
            Ok(Self { seed, nodes })
        } else {
            Err(SetupError { nodes })
        }
    }

    pub(super) fn nodes(self) -> impl Iterator<Item = NodeId> {
        (1..=self.nodes).map(NodeId)
    }

    /// Every ordered pair of nodes.
    pub(super) fn directions(self) -> impl Iterator<Item = (NodeId, NodeId)> {
        self.nodes()
            .flat_map(move |from| self.nodes().map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
    }

    /// A seed for one purpose, apart from those of all others.
    pub(super) fn seed_for(self, purpose: [u64; 4]) -> u64 {
        // The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
        purpose.iter().fold(self.seed, |seed, part| {
            let mixed = seed.wrapping_add(*part).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }
}

/// What the world does to the network or to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between the two; what is on its way is lost.
    Cut(NodeId, NodeId),
    /// Nothing passes from the first to the second.
    CutOneWay(NodeId, NodeId),
    /// Datagrams pass between the two again, whatever cut them off.
    Heal(NodeId, NodeId),
    /// The direction from the first to the second gets worse.
    Storm(NodeId, NodeId, Conditions),
    /// The direction is as it was made.
    Calm(NodeId, NodeId),
    /// The node stops at once; what it held in memory is gone.
    Crash(NodeId),
    /// The node closes its endpoint in order, and does nothing more.
    Close(NodeId),
    /// The node starts, with a higher incarnation.
    Restart(NodeId),
    /// The node gets its next certificate, and loads it.
    Rotate(NodeId),
    /// The node gets its next certificate, which is over after so many seconds.
    Shorten(NodeId, u8),
    /// The node's certificate is revoked; all others load the list that says so.
    Revoke(NodeId),
}

/// A fault and when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at_ms: u64,
    pub(super) fault: Fault,
}

/// Conditions of a direction without faults.
pub(super) fn calm(rng: &mut StdRng) -> Conditions {
    Conditions {
        delay_ms: rng.random_range(0..20),
        jitter_ms: rng.random_range(0..4),
        overtaking_per_mille: 0,
        lost_per_mille: 0,
        doubled_per_mille: 0,
    }
}

/// Conditions of a direction in a storm.
pub(super) fn storm(rng: &mut StdRng) -> Conditions {
    Conditions {
        delay_ms: rng.random_range(0..100),
        jitter_ms: rng.random_range(0..50),
        overtaking_per_mille: rng.random_range(0..50),
        lost_per_mille: rng.random_range(10..300),
        doubled_per_mille: rng.random_range(0..100),
    }
}

/// What a seed draws its faults from. A broken network hides what a rotation or a close loses, so
/// some seeds leave it whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Menu {
    Everything,
    /// The network is whole and no node crashes.
    Trust,
    /// Nothing but rotations and orderly closes.
    Rotation,
}

impl Menu {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..8) {
            0..4 => Self::Everything,
            4..6 => Self::Trust,
            _ => Self::Rotation,
        }
    }

    fn dish(self, rng: &mut StdRng) -> Dish {
        use Dish::{Close, Crash, Cut, CutOneWay, Revoke, Rotate, Shorten, Storm};
        let dishes: &[Dish] = match self {
            Self::Everything => &[
                Cut, CutOneWay, Storm, Crash, Cut, CutOneWay, Storm, Close, Revoke, Rotate, Shorten,
            ],
            Self::Trust => &[Rotate, Rotate, Close, Revoke, Shorten],
            Self::Rotation => &[Rotate, Rotate, Rotate, Rotate, Rotate, Close],
        };
        dishes.get(rng.random_range(0..dishes.len())).copied().unwrap_or(Rotate)
    }
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dish {
    Cut,
    CutOneWay,
    Storm,
    Crash,
    Close,
    Rotate,
    Revoke,
    Shorten,
}

impl Dish {
    const fn downs_a_node(self) -> bool {
        matches!(self, Self::Crash | Self::Close)
    }

    fn lasts_ms(self, rng: &mut StdRng) -> u64 {
        let magnitude = match self {
            Self::Cut | Self::CutOneWay | Self::Storm | Self::Crash => rng.random_range(4..12),
            Self::Close => rng.random_range(9..12),
            // Long enough to show that nothing comes of a link that should be gone.
            Self::Rotate | Self::Revoke | Self::Shorten => rng.random_range(11..14),
        };
        let most_ms = 1 << magnitude;
        rng.random_range(most_ms / 2..=most_ms)
    }

    /// The fault, and what ends it if it has an end.
    fn fault(self, rng: &mut StdRng, one: NodeId, other: NodeId) -> (Fault, Option<Fault>) {
        match self {
            Self::Cut => (Fault::Cut(one, other), Some(Fault::Heal(one, other))),
            Self::CutOneWay => (Fault::CutOneWay(one, other), Some(Fault::Heal(one, other))),
            Self::Storm => (Fault::Storm(one, other, storm(rng)), Some(Fault::Calm(one, other))),
            Self::Crash => (Fault::Crash(one), Some(Fault::Restart(one))),
            Self::Close => (Fault::Close(one), Some(Fault::Restart(one))),
            Self::Rotate => (Fault::Rotate(one), None),
            Self::Revoke => (Fault::Revoke(one), Some(Fault::Rotate(one))),
            Self::Shorten => {
                (Fault::Shorten(one, rng.random_range(1..4)), Some(Fault::Rotate(one)))
            }
        }
    }
}

/// The faults of a run, by time. Each ends by [`FAULTS_END_MS`].
pub(super) fn draw(setup: Setup) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(setup.seed_for([1, 0, 0, 0]));
    let menu = Menu::draw(&mut rng);
    let directions: Vec<_> = setup.directions().collect();
    let mut steps = Vec::new();
    let mut up_again_ms = 0;
    let mut at_ms = FAULTS_START_MS;
    while at_ms < FAULTS_END_MS {
        let drawn = directions.get(rng.random_range(0..directions.len()));
        let Some((one, other)) = drawn.copied() else { break };
        let mut dish = menu.dish(&mut rng);
        if dish.downs_a_node() && at_ms <= up_again_ms {
            // One node at a time is down: two that are down at once tell nothing more.
            dish = Dish::Rotate;
        }
        let until_ms = FAULTS_END_MS.min(at_ms + dish.lasts_ms(&mut rng));
        if dish.downs_a_node() {
            up_again_ms = until_ms;
        }
        let (begin, end) = dish.fault(&mut rng, one, other);
        steps.push(Step { at_ms, fault: begin });
        steps.extend(end.map(|fault| Step { at_ms: until_ms, fault }));
        at_ms += rng.random_range(20..1500);
    }
    // Stable: of two at the same time the one drawn first comes first.
    steps.sort_by_key(|step| step.at_ms);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_function_of_the_seed_and_ends_what_it_begins() {
        for seed in 0..200 {
            let steps = draw(Setup::pair(seed));
            assert_eq!(steps, draw(Setup::pair(seed)));
            assert_ne!(steps, draw(Setup::pair(seed + 1)));
            let mut is_down = [false; 3];
            for Step { at_ms, fault } in steps {
                assert!((FAULTS_START_MS..=FAULTS_END_MS).contains(&at_ms));
                let (node, goes_down) = match fault {
                    Fault::Crash(node) | Fault::Close(node) => (node, true),
                    Fault::Restart(node) => (node, false),
                    _ => continue,
                };
                let node = usize::from(node.0);
                assert_ne!(is_down[node], goes_down, "seed {seed}, at {at_ms} ms");
                is_down[node] = goes_down;
            }
            assert_eq!(is_down, [false; 3], "seed {seed}");
        }
    }

    #[test]
    fn a_certificate_that_is_revoked_or_short_lived_is_followed_by_a_good_one() {
        for seed in 0..200 {
            let mut is_good = [true; 3];
            for Step { fault, .. } in draw(Setup::pair(seed)) {
                match fault {
                    Fault::Revoke(node) | Fault::Shorten(node, _) => {
                        is_good[usize::from(node.0)] = false;
                    }
                    Fault::Rotate(node) => is_good[usize::from(node.0)] = true,
                    _other => {}
                }
            }
            assert_eq!(is_good, [true; 3], "seed {seed}");
        }
    }

    #[test]
    fn a_number_of_nodes_out_of_range_is_named() {
        let error = Setup::new(1, 1).unwrap_err();
        assert_eq!(error.to_string(), "1 nodes; there must be 2 to 8");
        assert_eq!(Setup::new(1, 2), Ok(Setup::pair(1)));
    }
}
