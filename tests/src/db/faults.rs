//! What happens to the nodes of a database, from a seed.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep_until};

use super::{Clients, DbClient, DbCluster, Links};

/// Operations that have to be answered between two faults.
const BETWEEN: u64 = 30;
/// How long they may take.
const WITHIN: Duration = Duration::from_secs(20);

/// Something that happens to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The leader is killed, and started again after a while.
    KillLeader,
    /// A replica that does not lead is killed, and started again after a while.
    KillFollower,
    /// The leader is stopped for longer than an election takes, and goes on.
    PauseLeader,
    /// Some other replica is stopped for a while.
    PauseFollower,
    /// All are killed at once, and started again.
    KillAll,
    /// The leader is cut off from the others for a while; clients reach all.
    CutLeader,
    /// The leader and one other are cut off from each other for a while.
    CutLink,
    /// Another one is asked to lead.
    MoveLead,
}

/// Faults in the order of a seed.
#[derive(Debug)]
pub struct Plan {
    random: StdRng,
}

impl Plan {
    /// Those of this seed.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    fn choose(&mut self) -> Fault {
        match self.random.random_range(0..100) {
            0..20 => Fault::KillLeader,
            20..30 => Fault::KillFollower,
            30..45 => Fault::PauseLeader,
            45..52 => Fault::PauseFollower,
            52..60 => Fault::KillAll,
            60..80 => Fault::CutLeader,
            80..90 => Fault::CutLink,
            _rest => Fault::MoveLead,
        }
    }

    /// Lets so many faults happen, each after operations were answered since the last one; gives
    /// which.
    ///
    /// # Errors
    /// The database does not go on after one.
    pub async fn play(
        &mut self,
        (cluster, links): (&mut DbCluster, &Links),
        clients: &Clients,
        eye: &DbClient,
        count: usize,
    ) -> Result<Vec<Fault>> {
        let mut played = Vec::with_capacity(count);
        for _ in 0..count {
            clients.go_on(BETWEEN, WITHIN).await?;
            let fault = self.choose();
            played.push(fault);
            self.inflict(cluster, links, eye, fault).await?;
        }
        clients.go_on(BETWEEN, WITHIN).await?;
        Ok(played)
    }

    async fn inflict(
        &mut self,
        cluster: &mut DbCluster,
        links: &Links,
        eye: &DbClient,
        fault: Fault,
    ) -> Result<()> {
        let leader = cluster.leader(&eye.db).await?;
        let others: Vec<String> =
            cluster.names().iter().filter(|name| **name != leader).cloned().collect();
        let other = others.choose(&mut self.random).cloned().context("there is one node")?;
        let nodes = &mut cluster.cluster;
        match fault {
            Fault::KillLeader => self.kill(nodes, &leader).await,
            Fault::KillFollower => self.kill(nodes, &other).await,
            Fault::PauseLeader => self.pause(nodes, &leader).await,
            Fault::PauseFollower => self.pause(nodes, &other).await,
            Fault::KillAll => {
                let all: Vec<String> = others.into_iter().chain([leader]).collect();
                for name in &all {
                    nodes.kill(name).await?;
                }
                for name in &all {
                    nodes.start(name).await?;
                }
                Ok(())
            }
            Fault::CutLeader => {
                others.iter().try_for_each(|other| links.cut(&leader, other))?;
                self.heal_later(links).await;
                Ok(())
            }
            Fault::CutLink => {
                links.cut(&leader, &other)?;
                self.heal_later(links).await;
                Ok(())
            }
            Fault::MoveLead => {
                let place = ["--certs", "tool", "--cluster", "cluster.toml"];
                let lead = ["db", "replica", "lead", &other];
                nodes.run(&[&lead[..], &place[..]].concat()).await.map(drop)
            }
        }
    }

    async fn kill(&mut self, nodes: &mut crate::cluster::Cluster, name: &str) -> Result<()> {
        nodes.kill(name).await?;
        self.wait(100..1500).await;
        nodes.start(name).await
    }

    async fn pause(&mut self, nodes: &mut crate::cluster::Cluster, name: &str) -> Result<()> {
        nodes.signal(name, "STOP").await?;
        self.wait(300..2500).await;
        nodes.signal(name, "CONT").await
    }

    async fn heal_later(&mut self, links: &Links) {
        self.wait(300..3000).await;
        links.heal();
    }

    async fn wait(&mut self, ms: std::ops::Range<u64>) {
        let length = Duration::from_millis(self.random.random_range(ms));
        sleep_until(Instant::now() + length).await;
    }
}
