//! Nodes of one cluster with a database on them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::UnixTime;
use tokio::time::{interval, timeout};
use vioduct_certs::credentials::Credentials;
use vioduct_certs::dev::DevCa;
use vioduct_certs::identity::{Role, Roles};
use vioduct_db::client::{Db, DbConfig, found};
use vioduct_db::command::{Place, TableId};
use vioduct_db::log::{LogWriter, MemoryLog};
use vioduct_db::role::{DbRole, DbRoleConfig, Stores};
use vioduct_db::schema::{Class, Schema, Writers};
use vioduct_db::state::MemoryState;
use vioduct_runtime::Node;

use crate::faulty::{Faults, FaultyLog, FaultyState};

/// A table that is spread over the shards.
pub(crate) const WIDE: u16 = 1;
/// A table of the system's shard.
pub(crate) const SYSTEM: u16 = 2;
/// A table that storages write.
pub(crate) const OF_STORAGES: u16 = 5;
/// A table of which each VIOS writes its own row.
pub(crate) const OF_EACH_VIOS: u16 = 6;

/// How long two nodes may take to be linked.
const LINKED_WITHIN: Duration = Duration::from_secs(30);

/// Nodes with a database.
pub(crate) struct Cluster {
    ca: DevCa,
    pub(crate) flush_every: u64,
    pub(crate) keep: u64,
    pub(crate) log_bytes: u64,
    run: u64,
    pub(crate) nodes: Vec<Member>,
    pub(crate) schema: Arc<Schema>,
}

/// One of them.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) faults: Faults,
    pub(crate) log: MemoryLog,
    pub(crate) state: MemoryState,
    pub(crate) role: DbRole<FaultyLog, FaultyState>,
}

/// The disk of a node that has ended.
pub(crate) struct Gone {
    log: MemoryLog,
    state: MemoryState,
}

impl Cluster {
    /// This many nodes, all linked, with a founded database.
    pub(crate) async fn start(nodes: usize, data_shards: u32) -> Self {
        let mut cluster = Self::empty(data_shards);
        for _ in 0..nodes {
            cluster.join().await;
        }
        cluster.found(nodes).await;
        cluster
    }

    /// No node yet.
    pub(crate) fn empty(data_shards: u32) -> Self {
        let schema = Schema::new(data_shards)
            .spread_table(WIDE, "wide", Class::Lifecycle)
            .system_table(SYSTEM, "system", Class::Alert)
            .system_table(OF_STORAGES, "of-storages", Class::Lifecycle)
            .written_by(OF_STORAGES, Writers::roles([Role::Storage]))
            .system_table(OF_EACH_VIOS, "of-each-vios", Class::Lifecycle)
            .written_by(OF_EACH_VIOS, Writers::own([Role::Vios]));
        let ca = DevCa::new("test", UnixTime::now()).unwrap();
        let (nodes, schema) = (Vec::new(), Arc::new(schema));
        let (flush_every, keep, log_bytes) = (20_000, 10_000, 256 << 20);
        Self { ca, nodes, schema, flush_every, keep, log_bytes, run: 1 }
    }

    /// One node more, with a link to all others and no replica.
    pub(crate) async fn join(&mut self) {
        self.join_with(MemoryLog::new(), MemoryState::new()).await;
    }

    /// All nodes lose their power at once, and start again with what their disks have.
    pub(crate) async fn power_cut(&mut self) {
        let disks = self.nodes.iter().map(|member| (member.log.crash(), member.state.crash()));
        let disks: Vec<_> = disks.collect();
        for member in self.nodes.drain(..) {
            member.node.shutdown(Duration::ZERO).await;
        }
        self.run += 1;
        for (log, state) in disks {
            self.join_with(log, state).await;
        }
    }

    /// The last node ends.
    pub(crate) async fn last_goes(&mut self) -> Gone {
        let last = self.nodes.pop().unwrap();
        last.node.shutdown(Duration::ZERO).await;
        Gone { log: last.log, state: last.state }
    }

    /// It comes back, with the disk that it had.
    pub(crate) async fn comes_back(&mut self, gone: Gone) {
        self.run += 1;
        self.join_with(gone.log, gone.state).await;
    }

    /// The last node ends, and comes back with an empty disk.
    pub(crate) async fn last_loses_its_disk(&mut self) {
        drop(self.last_goes().await);
        self.run += 1;
        self.join().await;
    }

    async fn join_with(&mut self, log: MemoryLog, state: MemoryState) {
        let number = self.nodes.len() + 1;
        let roles = [Role::Db].into_iter().collect::<Roles>();
        let identity = self.ca.node(&format!("d{number}"), roles).unwrap();
        let node = self.linked(identity).await;
        for other in &self.nodes {
            timeout(LINKED_WITHIN, knows(&other.node, &node)).await.unwrap();
        }
        let faults = Faults::default();
        let faulty = FaultyLog::new(log.clone(), faults.clone());
        let writer = LogWriter::on_thread(faulty.clone()).unwrap();
        let stores = Stores::roomy(faulty, writer, FaultyState::new(state.clone(), faults.clone()));
        let config = DbRoleConfig {
            flush_every: self.flush_every,
            keep: self.keep,
            log_bytes: self.log_bytes,
            ..DbRoleConfig::new(Arc::clone(&self.schema))
        };
        let role = DbRole::start(&node, stores, config).await.unwrap();
        self.nodes.push(Member { node, faults, log, state, role });
    }

    /// A node without a replica, or a tool, with a link to all nodes.
    async fn linked(&self, identity: Credentials) -> Node {
        let builder = Node::builder(Arc::new(identity)).workers(1).incarnation(self.run);
        let node = builder.start().await.unwrap();
        for other in &self.nodes {
            let (name, addr) = (other.node.name().clone(), other.node.local_addr().unwrap());
            node.connect(name.clone(), addr).await.unwrap();
            node.endpoint().link(&name).unwrap().up().await.unwrap();
        }
        node
    }

    /// A client on a node of its own that has these roles.
    pub(crate) async fn client_with(&mut self, name: &str, roles: &[Role]) -> (Node, Db) {
        let identity = self.ca.node(name, roles.iter().copied().collect()).unwrap();
        self.client_of(identity).await
    }

    /// A client with a tool's certificate.
    pub(crate) async fn tool(&mut self) -> (Node, Db) {
        let identity = self.ca.tool("ops").unwrap();
        self.client_of(identity).await
    }

    async fn client_of(&self, identity: Credentials) -> (Node, Db) {
        let node = self.linked(identity).await;
        let hosts: Vec<_> = self.nodes.iter().map(|member| member.node.name().clone()).collect();
        let db = Db::on(&node, &hosts, Arc::clone(&self.schema), DbConfig::default());
        (node, db)
    }

    /// A database on the first of them.
    pub(crate) async fn found(&self, nodes: usize) {
        let founders = self.nodes.iter().take(nodes).map(|member| member.node.name().clone());
        let founders: Vec<_> = founders.collect();
        found(&self.nodes[0].node, &founders, &self.schema).await.unwrap();
    }

    /// A client on one of the nodes.
    pub(crate) fn client(&self, node: usize) -> Db {
        self.client_for(node, Duration::from_secs(20))
    }

    /// The same, whose calls may take so long.
    pub(crate) fn client_for(&self, node: usize, deadline: Duration) -> Db {
        let config = DbConfig { deadline, ..DbConfig::default() };
        Db::new(&self.nodes[node].node, Arc::clone(&self.schema), config)
    }
}

pub(crate) fn wide(key: &str) -> Place {
    Place { table: TableId(WIDE), key: Bytes::copy_from_slice(key.as_bytes()) }
}

pub(crate) fn system(key: &str) -> Place {
    Place { table: TableId(SYSTEM), key: Bytes::copy_from_slice(key.as_bytes()) }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Until a node can ask another one that has dialled it: its end of the link is up a moment later.
async fn knows(node: &Node, dialler: &Node) {
    let mut looks = interval(Duration::from_millis(10));
    loop {
        if let Some(link) = node.endpoint().link(dialler.name())
            && link.up().await.is_ok()
        {
            return;
        }
        looks.tick().await;
    }
}
