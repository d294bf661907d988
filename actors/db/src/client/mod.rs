//! The database as a service uses it.
//!
//! A [`Db`] finds the replicas by their names, follows the leader, and tries again until its
//! deadline: a command is done once however often it is sent, so that only one answer is left open,
//! [`DbError::Unknown`].

mod config;
mod error;
mod found;
mod lease;
mod members;
mod route;
mod session;
mod shard;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::Node;

pub use self::config::DbConfig;
pub use self::error::DbError;
pub use self::found::{FoundError, found};
pub use self::lease::Lease;
pub use self::members::{Members, MembersError};
use self::shard::Shard;
pub use self::watch::{Watch, WatchEvent, WatchFrom};
use crate::ShardId;
use crate::command::{Answer, Change, Condition, Found, KEY_BYTES_MAX, Operation, Place, TableId};
use crate::query::{FoundRow, Query, Range, Rows};
pub use crate::replica::client::{Freshness, Status};
use crate::schema::Schema;
use crate::watch::Filter;

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All its changes are made.
    Done {
        /// The shard's revision with them.
        revision: u64,
    },
    /// A condition did not hold. Nothing was changed.
    Refused {
        /// Which one, counted from 0.
        condition: u32,
        /// The row that it looked at, if it is there.
        found: Option<Found>,
    },
}

/// A database, from any node of the cluster. A clone is the same client.
#[derive(Clone, Debug)]
pub struct Db {
    schema: Arc<Schema>,
    shards: Arc<[Shard]>,
}

impl Db {
    /// The database that the cluster of this node has. Nothing is sent before the first use.
    #[must_use]
    pub fn new(node: &Node, schema: Arc<Schema>, config: DbConfig) -> Self {
        Self::with(node, None, schema, config)
    }

    /// The same for a node that is no member of the cluster and has links to these.
    #[must_use]
    pub fn on(node: &Node, hosts: &[NodeName], schema: Arc<Schema>, config: DbConfig) -> Self {
        Self::with(node, Some(hosts.into()), schema, config)
    }

    fn with(
        node: &Node,
        hosts: Option<Arc<[NodeName]>>,
        schema: Arc<Schema>,
        config: DbConfig,
    ) -> Self {
        let shards = (0..=schema.data_shards()).map(ShardId);
        let shard = |number| Shard::new(node.clone(), hosts.clone(), number, config);
        let shards = shards.map(shard).collect();
        Self { schema, shards }
    }

    /// Writes a row; gives the shard's revision with it.
    ///
    /// Not cancel-safe, like all that writes: it may be done or not.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn put(&self, place: Place, value: Bytes) -> Result<u64, DbError> {
        let put = Change::Put { place, value, lease: None };
        match self.transact(Vec::new(), vec![put]).await? {
            Outcome::Done { revision } => Ok(revision),
            Outcome::Refused { .. } => Err(DbError::Unexpected),
        }
    }

    /// Writes a row that goes when the lease ends; gives the shard's revision with it.
    ///
    /// # Errors
    ///
    /// [`DbError`]: `AcrossShards` if the row lies on another shard than the lease, `NoLease` if
    /// that has ended.
    pub async fn put_leased(
        &self,
        place: Place,
        value: Bytes,
        lease: &Lease,
    ) -> Result<u64, DbError> {
        if self.shard_of([&place])?.id() != lease.shard() {
            return Err(DbError::AcrossShards);
        }
        let put = Change::Put { place, value, lease: Some(lease.number()) };
        match self.transact(Vec::new(), vec![put]).await? {
            Outcome::Done { revision } => Ok(revision),
            Outcome::Refused { .. } => Err(DbError::Unexpected),
        }
    }

    /// Begins a lease of a shard, which lasts for `ttl`, 100 ms to 49 days, from now and whenever
    /// it is kept alive.
    ///
    /// # Errors
    ///
    /// [`DbError`]: `TooManyLeases` if the shard has as many as it can have.
    pub async fn grant(&self, shard: ShardId, ttl: Duration) -> Result<Lease, DbError> {
        Lease::grant(self.shard(shard)?.clone(), ttl).await
    }

    /// The lease of this number, if there is one.
    ///
    /// # Errors
    ///
    /// [`DbError::NoShard`].
    pub fn lease(&self, shard: ShardId, number: u64) -> Result<Lease, DbError> {
        Ok(Lease::of(self.shard(shard)?.clone(), number))
    }

    /// Takes a row away, if it is there; gives the shard's revision with it.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn delete(&self, place: Place) -> Result<u64, DbError> {
        match self.transact(Vec::new(), vec![Change::Delete { place }]).await? {
            Outcome::Done { revision } => Ok(revision),
            Outcome::Refused { .. } => Err(DbError::Unexpected),
        }
    }

    /// Writes a row if it has that value now; with `None`, if it is not there.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn compare_and_set(
        &self,
        place: Place,
        expected: Option<Bytes>,
        value: Bytes,
    ) -> Result<Outcome, DbError> {
        let condition = Condition::Value { place: place.clone(), value: expected };
        let put = Change::Put { place, value, lease: None };
        self.transact(vec![condition], vec![put]).await
    }

    /// Makes all changes if all conditions hold, else none. All its rows are of one shard.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn transact(
        &self,
        conditions: Vec<Condition>,
        changes: Vec<Change>,
    ) -> Result<Outcome, DbError> {
        let read = conditions.iter().map(Condition::place);
        let shard = self.shard_of(read.chain(changes.iter().map(Change::place)))?;
        match shard.perform(Operation::Transact { conditions, changes }).await? {
            Answer::Done { revision } => Ok(Outcome::Done { revision }),
            Answer::Refused { condition, found } => Ok(Outcome::Refused { condition, found }),
            Answer::NoLease { lease } => Err(DbError::NoLease { lease }),
            _other => Err(DbError::Unexpected),
        }
    }

    /// A row, if it is there. Cancel-safe, like all that reads.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn get(
        &self,
        place: Place,
        freshness: Freshness,
    ) -> Result<Option<FoundRow>, DbError> {
        let shard = self.shard_of([&place])?;
        let found = shard.read(&Query::Get(vec![place]), freshness).await?;
        Ok(found.rows.into_iter().next())
    }

    /// Those of these rows that are there, as they are at one moment. All lie on one shard, and
    /// they are [`PARTS_MAX`](crate::command::PARTS_MAX) at most.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn get_many(
        &self,
        places: Vec<Place>,
        freshness: Freshness,
    ) -> Result<Rows, DbError> {
        let shard = self.shard_of(&places)?;
        shard.read(&Query::Get(places), freshness).await
    }

    /// Rows of one shard in these ranges, [`PARTS_MAX`](crate::command::PARTS_MAX) at most, one
    /// after the other, as they are at one moment; `limit` at most, and some 4 MiB.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn scan(
        &self,
        shard: ShardId,
        ranges: Vec<Range>,
        limit: u32,
        freshness: Freshness,
    ) -> Result<Rows, DbError> {
        ranges.iter().try_for_each(|range| self.check_table(range.table))?;
        self.shard(shard)?.read(&Query::Scan { ranges, limit }, freshness).await
    }

    /// Begins to watch a shard's changes. With [`WatchFrom::Now`] the shard is asked how far it is,
    /// else nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn watch(
        &self,
        shard: ShardId,
        filter: Filter,
        from: WatchFrom,
    ) -> Result<Watch, DbError> {
        filter.tables.iter().try_for_each(|table| self.check_table(*table))?;
        if filter.prefix.len() > KEY_BYTES_MAX {
            return Err(DbError::KeyTooLong { bytes: filter.prefix.len() });
        }
        let shard = self.shard(shard)?.clone();
        let after = match from {
            WatchFrom::Now => shard.revision().await?,
            WatchFrom::After(revision) => revision,
        };
        Ok(Watch::new(shard, filter, after))
    }

    /// `count` numbers that this counter of the system's shard gives to nobody else: the first one,
    /// and those that follow it.
    ///
    /// # Errors
    ///
    /// [`DbError`].
    pub async fn allocate(&self, counter: Bytes, count: u32) -> Result<u64, DbError> {
        match self.shard(ShardId(0))?.perform(Operation::Allocate { counter, count }).await? {
            Answer::Allocated { first } => Ok(first),
            Answer::Exhausted => Err(DbError::Exhausted),
            _other => Err(DbError::Unexpected),
        }
    }

    /// How each replica of a shard that can be reached is.
    ///
    /// # Errors
    ///
    /// [`DbError::NoShard`].
    pub async fn status(&self, shard: ShardId) -> Result<Vec<(String, Status)>, DbError> {
        Ok(self.shard(shard)?.status().await)
    }

    fn shard(&self, shard: ShardId) -> Result<&Shard, DbError> {
        self.shards.get(shard.0 as usize).ok_or(DbError::NoShard { shard: shard.0 })
    }

    fn check_table(&self, table: TableId) -> Result<(), DbError> {
        if self.schema.has(table) { Ok(()) } else { Err(DbError::NoTable { table: table.0 }) }
    }

    fn shard_of<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> Result<&Shard, DbError> {
        let mut shard = None;
        for place in places {
            self.check_table(place.table)?;
            let of_place = self.schema.shard_of(place);
            if *shard.get_or_insert(of_place) != of_place {
                return Err(DbError::AcrossShards);
            }
        }
        self.shard(shard.ok_or(DbError::Empty)?)
    }
}
