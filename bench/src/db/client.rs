//! The client process of our database.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use vioduct_bench_harness::store::{self, Options, Store, StoreKind, StoreSample, Watcher};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbConfig, Freshness, Watch, WatchEvent, WatchFrom};
use vioduct_db::command::{Place, TableId};
use vioduct_db::schema::{Class, Schema};
use vioduct_db::watch::Filter;
use vioduct_runtime::Node;

use super::nodes::NODES;

/// The table that the program's database has.
const TABLE: TableId = TableId(1);

/// A client, and its end of the links.
struct Database {
    db: Db,
    _node: Node,
}

/// Does what the parent asks for.
pub(crate) async fn measure(options: &Options) -> Result<Option<StoreSample>> {
    store::run(StoreKind::Vioduct, Database::connect(options).await?, options).await
}

impl Database {
    /// As a tool does it: no member of the cluster.
    async fn connect(options: &Options) -> Result<Self> {
        let credentials = options.credentials.as_deref().context("--credentials is needed")?;
        let credentials = Credentials::load(credentials, UnixTime::now())?;
        let builder = Node::builder(Arc::new(credentials)).workers(1);
        let node = builder.listen(([127, 0, 0, 1], 0).into()).start().await?;
        ensure!(options.servers.len() == NODES.len(), "an address of each node");
        let mut hosts = Vec::new();
        for (name, addr) in NODES.iter().zip(&options.servers) {
            let host: NodeName = name.parse()?;
            node.connect(host.clone(), *addr).await?;
            hosts.push(host);
        }
        let schema = Arc::new(Schema::new(0).spread_table(TABLE.0, "kv", Class::Lifecycle));
        let db = Db::on(&node, &hosts, schema, DbConfig::default());
        Ok(Self { db, _node: node })
    }
}

fn place(key: Bytes) -> Place {
    Place { table: TABLE, key }
}

/// Who watches, and the keys that it was told of at once.
struct Watching {
    watch: Watch,
    told: VecDeque<Bytes>,
}

impl Watcher for Watching {
    async fn next(&mut self) -> Result<Bytes> {
        loop {
            if let Some(key) = self.told.pop_front() {
                return Ok(key);
            }
            match self.watch.next().await? {
                WatchEvent::Changes { changes, .. } => {
                    self.told.extend(changes.into_iter().map(|change| change.place.key));
                }
                WatchEvent::Progress { .. } => {}
                WatchEvent::Resync { revision } => bail!("told to read all up to {revision}"),
            }
        }
    }
}

impl Store for Database {
    type Watcher = Watching;

    async fn put(&self, key: Bytes, value: Bytes) -> Result<()> {
        self.db.put(place(key), value).await?;
        Ok(())
    }

    async fn get(&self, key: Bytes) -> Result<Option<Bytes>> {
        let found = self.db.get(place(key), Freshness::Linearizable).await?;
        Ok(found.map(|row| row.value))
    }

    async fn watch(&self, prefix: Bytes) -> Result<Watching> {
        let filter = Filter { prefix, ..Filter::of([TABLE]) };
        // The program's database has one shard unless it is told otherwise.
        let watch = self.db.watch(ShardId(0), filter, WatchFrom::Now).await?;
        Ok(Watching { watch, told: VecDeque::new() })
    }
}
