//! A runtime node on a simulated host.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use vioduct_runtime::Node;
use vioduct_transport::seam::{ResetSecret, Runtime, Surroundings};

use super::super::actors::config;
use super::super::clock::SimClock;
use super::super::history::Recorder;
use super::super::identity::Held;
use super::super::message::NodeId;
use super::super::runtime::SimRuntime;
use super::super::socket::SimSocket;
use super::super::weather::Weather;
use super::Setup;

type Failed = Box<dyn std::error::Error>;

/// Everything a node needs to run, again and again.
pub(super) struct Host {
    pub(super) setup: Setup,
    pub(super) node: NodeId,
    pub(super) addr: SocketAddr,
    /// The database's nodes but this one.
    pub(super) peers: Vec<(NodeId, SocketAddr)>,
    pub(super) held: Held,
    pub(super) weather: Arc<Mutex<Weather>>,
    pub(super) clock: SimClock,
    pub(super) recorder: Recorder,
    pub(super) runs: AtomicU64,
}

impl Host {
    /// A random generator of its own for each purpose.
    pub(super) fn rng(&self, purpose: u64, run: u64) -> StdRng {
        let purpose = [purpose, self.node.0.into(), run, 0];
        StdRng::seed_from_u64(self.setup.seed_for(purpose))
    }

    /// The number of the next run.
    pub(super) fn next_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A node with links to all of the database, on the current turmoil host.
    pub(super) async fn start(&self, run: u64) -> Result<Node, Failed> {
        let runtime = SimRuntime::start(self.recorder.of_node(self.node, run));
        let weather = Arc::clone(&self.weather);
        let surroundings = Surroundings {
            runtime: runtime as Arc<dyn Runtime>,
            socket: SimSocket::bind(self.addr, weather, self.clock.clone()).await?,
            wall_clock: Arc::new(self.clock.clone()),
            seed: self.rng(2, run).random(),
            reset_secret: ResetSecret::from([7; 32]),
        };
        let builder = Node::builder(Arc::clone(&self.held.credentials)).on_this_local_set();
        let builder = builder.incarnation(run).transport(config()).surroundings(surroundings);
        let node = builder.start().await?;
        for (peer, addr) in &self.peers {
            node.connect(peer.to_string().parse()?, *addr).await?;
        }
        Ok(node)
    }
}
