//! What the nodes of a simulated database run, and its clients.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbConfig, Members, found};
use vioduct_db::clock::WallClock;
use vioduct_db::log::LogWriter;
use vioduct_db::offload::Offload;
use vioduct_db::role::{DbRole, DbRoleConfig, Stores};
use vioduct_db::schema::{Class, Schema};
use vioduct_runtime::Node;

use super::board::{Board, What};
use super::disk::Disk;
use super::host::Host;
use crate::db::{Load, TABLE, Worker, read_all};
use crate::linear::Recorder;

const SHARD: ShardId = ShardId(0);
/// How long a sync of the log takes.
const SYNC_TIME: Duration = Duration::from_millis(4);
/// Few, so that replicas that were away are sent rows and not entries.
const FLUSH_EVERY: u64 = 100;
const KEEP: u64 = 20;
/// How often it is looked how a replica is, and what a client is to do.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a client waits for an answer: less than an election takes, so that some are left in
/// doubt.
const DEADLINE: Duration = Duration::from_millis(700);
/// How long handing over the lead may take.
const LEAD_WITHIN: Duration = Duration::from_secs(3);

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(0).spread_table(TABLE, "kv", Class::Lifecycle))
}

async fn pause(length: Duration) {
    sleep_until(Instant::now() + length).await;
}

/// A node of the database.
pub(super) struct Server {
    pub(super) host: Host,
    pub(super) disk: Disk,
    pub(super) board: Board,
}

/// One run of a node of the database.
pub(super) async fn serve(server: Arc<Server>) -> turmoil::Result {
    let Server { host, disk, board } = &*server;
    let run = host.next_run();
    board.add(What::Started { node: host.node, run });
    let node = host.start(run).await?;
    let (log, state) = disk.power_on(&mut host.rng(3, run));
    let writer = LogWriter::in_task(log.clone(), SYNC_TIME);
    let clock = host.clock.clone();
    let config = DbRoleConfig {
        flush_every: FLUSH_EVERY,
        keep: KEEP,
        clock: WallClock::by(move || clock.wall().as_secs() * 1000),
        offload: Offload::Here,
        ..DbRoleConfig::new(schema())
    };
    let _role = DbRole::start(&node, Stores::roomy(log, writer, state), config).await?;
    let own = Db::on(&node, std::slice::from_ref(node.name()), schema(), DbConfig::default());
    loop {
        for (_name, status) in own.status(SHARD).await? {
            board.note(host.node, &status);
        }
        pause(LOOK_EVERY).await;
    }
}

/// A client's node.
pub(super) struct Client {
    pub(super) host: Host,
    /// From 0. The first one begins the database, and reads every key at the end.
    pub(super) number: u32,
    pub(super) load: Load,
    pub(super) board: Board,
    pub(super) recorder: Arc<Recorder>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Client {
    fn hosts(&self) -> Result<Vec<NodeName>, vioduct_certs::identity::NameError> {
        self.host.peers.iter().map(|(node, _addr)| node.to_string().parse()).collect()
    }

    async fn work(&self, db: &Db) -> Result<(), String> {
        let index = usize::try_from(self.number).unwrap_or(usize::MAX);
        let answered = self.board.answered.get(index).cloned().unwrap_or_default();
        let worker = Worker::new(self.number, self.load, Arc::clone(&self.recorder), answered);
        worker.work(db, &self.stop).await.map_err(|error| format!("{error:#}"))
    }

    /// Hands over the lead when the world says so.
    async fn lead(&self, node: &Node, db: &Db) {
        while !self.stop.load(Ordering::Relaxed) {
            pause(LOOK_EVERY).await;
            let Some(next) = self.board.next_order() else { continue };
            let Ok(host) = next.to_string().parse() else { continue };
            let moved = Members::of(db, node, SHARD, LEAD_WITHIN).lead(&host).await;
            self.board.add(What::Moved(moved.err().map(|error| error.to_string())));
        }
    }
}

/// The one run of a client's node.
pub(super) async fn ask(client: Arc<Client>) -> turmoil::Result {
    let run = client.host.next_run();
    let node = client.host.start(run).await?;
    let hosts = client.hosts()?;
    let config = DbConfig { deadline: DEADLINE, ..DbConfig::default() };
    let db = Db::on(&node, &hosts, schema(), config);
    if client.number == 0 {
        while found(&node, &hosts, &schema()).await.is_err() {
            pause(LOOK_EVERY).await;
        }
        client.board.founded();
    }
    while !client.board.is_founded() {
        pause(LOOK_EVERY).await;
    }
    if client.number > 0 {
        client.board.done(client.work(&db).await);
        return pending().await;
    }
    let (ended, ()) = tokio::join!(client.work(&db), client.lead(&node, &db));
    client.board.done(ended);
    while !client.board.are_done() {
        pause(LOOK_EVERY).await;
    }
    let read = read_all(&db, client.load, &client.recorder).await;
    client.board.read(read.map_err(|error| format!("the last reads: {error:#}")));
    pending().await
}
