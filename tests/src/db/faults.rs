//! What happens to the nodes of a database, from a seed.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep_until};

use super::{Clients, DbClient, DbCluster};

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
            0..35 => Fault::KillLeader,
            35..50 => Fault::KillFollower,
            50..75 => Fault::PauseLeader,
            75..90 => Fault::PauseFollower,
            _rest => Fault::KillAll,
        }
    }

    /// Lets so many faults happen, each after operations were answered since the last one; gives
    /// which.
    ///
    /// # Errors
    /// The database does not go on after one.
    pub async fn play(
        &mut self,
        cluster: &mut DbCluster,
        clients: &Clients,
        eye: &DbClient,
        count: usize,
    ) -> Result<Vec<Fault>> {
        let mut played = Vec::with_capacity(count);
        for _ in 0..count {
            clients.go_on(BETWEEN, WITHIN).await?;
            let fault = self.choose();
            played.push(fault);
            self.inflict(cluster, eye, fault).await?;
        }
        clients.go_on(BETWEEN, WITHIN).await?;
        Ok(played)
    }

    async fn inflict(
        &mut self,
        cluster: &mut DbCluster,
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

    async fn wait(&mut self, ms: std::ops::Range<u64>) {
        let length = Duration::from_millis(self.random.random_range(ms));
        sleep_until(Instant::now() + length).await;
    }
}
