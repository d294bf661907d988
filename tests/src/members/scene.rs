//! One run: a cluster forms, is quiet, and loses a node.

use std::time::Duration;

use vioduct_runtime::membership::{MemberEvent, MembershipConfig, Moment};

use super::traffic::{Rate, Traffic};
use super::world::{NodeIndex, Told, World};

const SECOND: Duration = Duration::from_secs(1);
/// How long a cluster may take to form, and everybody to learn of a death.
const PATIENCE: u32 = 600;
/// News of the joins is passed on for some time after everybody knows everybody.
const SETTLE: Duration = Duration::from_secs(60);

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// Nodes, 2..=65 536.
    pub nodes: u32,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How long nothing happens.
    pub quiet: Duration,
    /// Of a hundred datagrams, so many are lost. 0..=100.
    pub loss_percent: u8,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The scene.
    pub scene: Scene,
    /// When everybody knew everybody; `None` if that took more than ten minutes.
    pub formed_after: Option<Duration>,
    /// Times that a living node was held for down, by anybody, until the kill.
    pub false_deaths: u64,
    /// Suspicions in the quiet time, each counted by everybody who learned of it.
    pub suspicions: u64,
    /// What all nodes sent in the quiet time.
    pub traffic: Traffic,
    /// Pairs of nodes that talked for the first time in the quiet time.
    pub links_opened: u64,
    /// From the kill until the first node held the dead one for down, probe periods.
    pub first_knows: Option<f64>,
    /// From the kill until everybody did, probe periods; `None` if that took more than ten minutes.
    pub all_know: Option<f64>,
    /// Datagrams that a node found wrong.
    pub accusations: u64,
    /// Hash of all datagrams with their times: the same for the same seed.
    pub trace_hash: u64,
}

impl Run {
    /// What a node sent in a second of the quiet time, without any keep-alive.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.traffic.rate(self.scene.nodes, self.scene.quiet)
    }
}

impl Scene {
    /// Runs it, with the default settings of the membership.
    #[must_use]
    pub fn run(self) -> Run {
        let config = MembershipConfig::default();
        let mut world = World::new(self, &config, 10 * SECOND);
        let formed_after = form(&mut world);
        world.run_for(SETTLE);

        let (heard, links) = (world.told.len(), world.links());
        world.traffic = Traffic::default();
        world.run_for(self.quiet);
        let traffic = world.traffic;
        let links_opened = world.links() - links;
        let suspicions =
            count(&world.told, heard, |event| matches!(event, MemberEvent::Suspect { .. }));
        let false_deaths = count(&world.told, 0, is_death);

        let (first_knows, all_know) = kill(&mut world, self.nodes, config.probe_period);
        Run {
            scene: self,
            formed_after,
            false_deaths,
            suspicions,
            traffic,
            links_opened,
            first_knows,
            all_know,
            accusations: world.accusations(),
            trace_hash: world.trace_hash(),
        }
    }
}

fn form(world: &mut World) -> Option<Duration> {
    for _ in 0..PATIENCE {
        world.run_for(SECOND);
        if world.is_whole() {
            return Some(world.now().since(Moment::START));
        }
    }
    None
}

/// Kills a node at some moment of a period; says when the first and the last one knew.
fn kill(world: &mut World, nodes: u32, period: Duration) -> (Option<f64>, Option<f64>) {
    let victim = world.random_node();
    let Some(name) = world.name(victim).cloned() else { return (None, None) };
    world.kill(victim);
    let (killed_at, heard) = (world.now(), world.told.len());
    let everybody = usize::try_from(nodes).unwrap_or(usize::MAX).saturating_sub(1);
    let mut known: Vec<(NodeIndex, Moment)> = Vec::new();
    for _ in 0..PATIENCE {
        world.run_for(SECOND);
        let news = world.told.iter().skip(heard);
        let of_victim = news
            .filter(|told| matches!(&told.event, MemberEvent::Down { node, .. } if *node == name));
        known = of_victim.map(|told| (told.by, told.at)).collect();
        if known.len() >= everybody {
            break;
        }
    }
    let periods = |at: &Moment| at.since(killed_at).as_secs_f64() / period.as_secs_f64();
    let first = known.iter().map(|(_, at)| at).min().map(periods);
    let last = known.iter().map(|(_, at)| at).max().map(periods);
    (first, last.filter(|_| known.len() == everybody))
}

fn is_death(event: &MemberEvent) -> bool {
    match event {
        MemberEvent::Down { .. } | MemberEvent::Returned { .. } | MemberEvent::Expelled(_) => true,
        MemberEvent::Up(_) | MemberEvent::Suspect { .. } | MemberEvent::Refuted { .. } => false,
    }
}

fn count(told: &[Told], from: usize, is_counted: impl Fn(&MemberEvent) -> bool) -> u64 {
    let counted = told.iter().skip(from).filter(|told| is_counted(&told.event)).count();
    u64::try_from(counted).unwrap_or(u64::MAX)
}
