//! A database of real processes, clients that record what they saw, and what happens to the nodes
//! meanwhile.

mod client;
mod faults;
mod links;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbConfig, Status};
use vioduct_db::schema::{Class, Schema};
use vioduct_runtime::Node;

pub use self::client::{Clients, Load, Plant, key};
pub(crate) use self::client::{Worker, read_all};
pub use self::faults::{Fault, Plan};
pub use self::links::Links;
use crate::cluster::Cluster;

/// How long a database may take to have a leader that answers, while other tests load the machine.
const LEADER_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked for one.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The table that the program's database has.
pub const TABLE: u16 = 1;

/// A client of a database on these nodes of a cluster, which has these tables.
///
/// # Errors
/// Its end does not start.
pub async fn client_on(
    cluster: &Cluster,
    names: impl IntoIterator<Item = &str>,
    schema: Arc<Schema>,
    config: DbConfig,
) -> Result<DbClient> {
    let credentials = Credentials::load(&cluster.dir().join("tool"), UnixTime::now())?;
    let builder = Node::builder(Arc::new(credentials)).workers(1);
    let node = builder.listen(([0, 0, 0, 0], 0).into()).start().await?;
    let mut hosts = Vec::new();
    for name in names {
        let host: NodeName = name.parse()?;
        node.connect(host.clone(), cluster.addr(name).parse()?).await?;
        hosts.push(host);
    }
    let db = Db::on(&node, &hosts, schema, config);
    Ok(DbClient { db, _node: node })
}

/// A database whose nodes are processes.
#[derive(Debug)]
pub struct DbCluster {
    /// The processes.
    pub cluster: Cluster,
    names: Vec<String>,
    schema: Arc<Schema>,
}

impl DbCluster {
    /// Starts this many nodes, and begins a database with one shard on them.
    ///
    /// # Errors
    /// A node does not start, or the database does not begin.
    pub async fn start(vioduct: PathBuf, nodes: usize) -> Result<Self> {
        Ok(Self::begin(vioduct, nodes, |_cluster, _names| Ok(())).await?.0)
    }

    /// The same, with links that can be cut.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_over_proxies(vioduct: PathBuf, nodes: usize) -> Result<(Self, Links)> {
        Self::begin(vioduct, nodes, Links::between).await
    }

    async fn begin<T>(
        vioduct: PathBuf,
        nodes: usize,
        prepare: impl FnOnce(&Cluster, &[String]) -> Result<T>,
    ) -> Result<(Self, T)> {
        let names: Vec<String> = (1..=nodes).map(|number| format!("d{number}")).collect();
        let members: Vec<_> = names.iter().map(|name| (name.as_str(), r#""db""#)).collect();
        let mut cluster = Cluster::create_of(vioduct, &members).await?;
        let prepared = prepare(&cluster, &names)?;
        for name in &names {
            let mut file = File::options().append(true).open(cluster.config(name))?;
            writeln!(file, "\n[db]\ndir = \"db\"")?;
            cluster.start(name).await?;
        }
        cluster.run(&["db", "init", "--certs", "tool", "--cluster", "cluster.toml"]).await?;
        let schema = Schema::new(0).spread_table(TABLE, "kv", Class::Lifecycle);
        Ok((Self { cluster, names, schema: Arc::new(schema) }, prepared))
    }

    /// The nodes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A client of its own, with a session of its own.
    ///
    /// # Errors
    /// Its end does not start.
    pub async fn client(&self, config: DbConfig) -> Result<DbClient> {
        self.client_of(&self.names, config).await
    }

    /// A client that knows only these nodes.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub async fn client_of(&self, names: &[String], config: DbConfig) -> Result<DbClient> {
        let names = names.iter().map(String::as_str);
        client_on(&self.cluster, names, Arc::clone(&self.schema), config).await
    }

    /// The node whose replica leads, once one does.
    ///
    /// # Errors
    /// None does in time.
    pub async fn leader(&self, client: &Db) -> Result<String> {
        let mut statuses = Vec::new();
        let looking = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                statuses = client.status(ShardId(0)).await?;
                let newest = statuses.iter().map(|(_node, status)| status.term).max();
                let leads = |(node, status): &(String, Status)| {
                    let leads = status.leader == Some(status.replica);
                    (leads && Some(status.term) == newest).then(|| node.clone())
                };
                if let Some(leader) = statuses.iter().find_map(leads) {
                    return Ok::<_, anyhow::Error>(leader);
                }
            }
        };
        let found = tokio::time::timeout(LEADER_WITHIN, looking).await;
        found.with_context(|| format!("no leader in time; last: {statuses:?}"))?
    }
}

/// A client, and its end of the links.
#[derive(Debug)]
pub struct DbClient {
    /// The client.
    pub db: Db,
    _node: Node,
}
