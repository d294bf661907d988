//! What operators change of a cluster: that it is there, which VIOSes belong to it, its pools and
//! LUs, its clients and their VTDs.
//!
//! Each change is one transaction over the rows as they were read, so that two operators at once
//! are as two in turn.

mod adapter;
mod client;
mod owner;
mod redundancy;
mod resize;
pub(crate) mod storage;
mod transfer;

use std::collections::BTreeSet;

use bytes::Bytes;
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbError, Freshness, Lease, Outcome};
use vioduct_db::command::{Change, Condition, PARTS_MAX, Place, TableId};
use vioduct_db::query::{ROWS_MAX, Range, Rows};

pub(crate) use self::adapter::{forget_adapters, log_in};
pub(crate) use self::client::{add_client, create_vtd, delete_vtd, remove_client};
pub(crate) use self::owner::{OwnedLu, let_go, release_lu, take_lu};
pub(crate) use self::redundancy::tell_paths;
pub(crate) use self::resize::resize_lu;
pub(crate) use self::storage::{
    Deleted, create_export, create_lu, create_pool, delete_lu, delete_pool,
};
pub use self::transfer::{Left, RUN_LEASE, Transfer, sweep};
use super::row::{
    ClientKey, ClusterRow, Key, LuPhase, LuRow, ObjectName, RedundancyRow, Row, RowError, Storage,
    TheCluster, TransferKind, UniqueId, UniqueRow, ViosRow, VtdKey,
};
use crate::redirect::name::{LuId, ViosId};
use crate::repository::volume::LU_BYTES_MAX;
use crate::roles::layout::VIOSES_MAX;
use crate::roles::phyp::FRONT_BYTES_MAX;

/// The language of a cluster that is made by this program.
const LANGUAGE: u32 = 1;
/// Longest name of a cluster, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most VIOSes that a cluster begins with; more are admitted later.
pub const FOUNDERS_MAX: usize = PARTS_MAX - 1;
/// Longest name of an export, bytes. Source: NBD proto.md, "Strings".
const EXPORT_BYTES_MAX: usize = 4096;
/// Most VTDs of an LU, and of a client.
pub const VTDS_MAX: usize = 512;
/// Answers that all rows of a table are read by; each has some 4 MiB of them.
const PAGES_MAX: usize = 64;
/// How often a change is tried whose rows others change meanwhile; each time somebody has got on.
const TRIES: usize = 16;

/// Why the cluster is as before, or as far as [`Db`](Self::Db) leaves that open. Fault: the
/// operator's, but for the last three.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database holds a cluster already.
    #[error("the database holds cluster {0} already; admit more VIOSes with `vioduct vios add`")]
    Exists(String),
    /// The database holds none.
    #[error("the database holds no cluster; make one with `vioduct cluster create`")]
    NoCluster,
    /// The name is no name of a cluster.
    #[error("{0:?} is no name of a cluster; it has 1 to {NAME_BYTES_MAX} printable characters")]
    Name(String),
    /// A cluster has to begin with some, and with no more than so many.
    #[error("{0} VIOSes; a cluster begins with 1 to {FOUNDERS_MAX}")]
    Founders(usize),
    /// The VIOS is a member already.
    #[error("{0} is a VIOS of the cluster already")]
    Admitted(NodeName),
    /// It is none.
    #[error("{0} is no VIOS of the cluster; `vioduct vios ls` lists those that are")]
    NotAdmitted(NodeName),
    /// There are too many.
    #[error("the cluster has {VIOSES_MAX} VIOSes, as many as it can have")]
    Full,
    /// The pool is there already.
    #[error("there is a pool {0} already; `vioduct pool ls` shows it")]
    PoolExists(ObjectName),
    /// There is no such pool.
    #[error("there is no pool {0}; make one with `vioduct pool create`")]
    NoPool(ObjectName),
    /// A cluster has one storage so far.
    #[error("pool {pool} lies on {storage}, and a cluster has one storage: make pools of that")]
    OtherStorage {
        /// A pool that is there.
        pool: ObjectName,
        /// Its storage.
        storage: Storage,
    },
    /// A storage outside of the cluster is one pool.
    #[error("pool {0} is the storage outside of the cluster already: make LUs of that")]
    OneOutside(ObjectName),
    /// No storage carries a request out within no time.
    #[error("a request life of 0 ms: it must be 1 at least, or left out if nobody knows it")]
    NoLife,
    /// LUs are carved from the pool.
    #[error("pool {0} is made of what a node serves: an LU has a size there, and no export")]
    NoExports(ObjectName),
    /// LUs are exports of a server.
    #[error(
        "pool {0} is a storage outside of the cluster: an LU is an export there, and as large as \
         that; name it with `vioduct lu create --export`"
    )]
    NoSizes(ObjectName),
    /// Another LU is that export.
    #[error("LU {} is export {name:?} already; `vioduct lu ls` shows it", lu.0)]
    ExportTaken {
        /// The export.
        name: String,
        /// That LU.
        lu: LuId,
    },
    /// No name of an export.
    #[error(
        "an export's name has {EXPORT_BYTES_MAX} bytes at most, none of them a control character"
    )]
    ExportName,
    /// The LU is as large as its server has it.
    #[error(
        "LU {} is an export of a storage outside of the cluster: enlarge it there; clients see \
         that once their hypervisor starts anew", .0.0
    )]
    NotOurs(LuId),
    /// Another client sees an LU that one client can use.
    #[error(
        "LU {} lies outside of the cluster, where one client can use it: client {client} sees it \
         by VTD {}; delete that first, with `vioduct vtd delete`", lu.0, vtd.0
    )]
    OneClient {
        /// Which.
        lu: LuId,
        /// The VTD.
        vtd: VtdKey,
        /// Its client.
        client: ClientKey,
    },
    /// The owner of the LU has not ended in order.
    #[error(
        "the hypervisor on {node} has not let LU {} go: it does once it runs, has the database, \
         and nothing that it sent can land any more; if it is off for good, or the pool has no \
         request life, see to the latter and run `vioduct lu release {}`", lu.0, lu.0
    )]
    Owned {
        /// Which.
        lu: LuId,
        /// The hypervisor's node.
        node: NodeName,
    },
    /// Nobody owns the LU.
    #[error("LU {} is owned by nobody: there is nothing to release", .0.0)]
    NotOwned(LuId),
    /// The pool has LUs.
    #[error("pool {pool} has {lus} LUs; delete them first, with `vioduct lu delete`")]
    PoolInUse {
        /// Which.
        pool: ObjectName,
        /// How many.
        lus: u32,
    },
    /// A size that no LU may have.
    #[error("an LU of {0} bytes: it must have 512 to {LU_BYTES_MAX}, a multiple of 512")]
    LuSize(u64),
    /// LUs become larger only.
    #[error(
        "LU {} has {has} bytes and can't be cut to {wanted}: what its client has behind that would \
         be lost; make a smaller LU, and have the client copy what it needs", lu.0
    )]
    Shrink {
        /// Which.
        lu: LuId,
        /// Bytes that it has.
        has: u64,
        /// Bytes that were wanted.
        wanted: u64,
    },
    /// There is no such LU.
    #[error("there is no LU {}; `vioduct lu ls` lists those that are", .0.0)]
    NoLu(LuId),
    /// The LU can't be made.
    #[error("LU {} is not made: {why}; delete it with `vioduct lu delete`, or mend that", lu.0)]
    LuFailed {
        /// Which.
        lu: LuId,
        /// Why.
        why: String,
    },
    /// The LU is being deleted.
    #[error("LU {} is being deleted", .0.0)]
    LuDeleting(LuId),
    /// VTDs show the LU.
    #[error("LU {} is shown by VTD {}; delete that first, with `vioduct vtd delete`", lu.0, vtd.0)]
    LuInUse {
        /// Which.
        lu: LuId,
        /// One of them.
        vtd: VtdKey,
    },
    /// Somebody is shown the LU that is to be copied.
    #[error(
        "LU {} is in use: VTD {} shows it to client {client}; stop that client, and hide the LU \
         with `vioduct vtd delete {}`", lu.0, vtd.0, vtd.0
    )]
    LuShown {
        /// Which.
        lu: LuId,
        /// One of its VTDs.
        vtd: VtdKey,
        /// The client that sees it.
        client: ClientKey,
    },
    /// The LU is being copied already.
    #[error(
        "LU {} is in use: an {kind} of it runs{}; wait for its end", lu.0,
        by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default()
    )]
    Transferring {
        /// Which.
        lu: LuId,
        /// Which way.
        kind: TransferKind,
        /// Who copies it, if that is known.
        by: Option<String>,
    },
    /// Another run took this one for killed, and took away what it had made.
    #[error(
        "LU {} is copied by this run no more: the database did not hear of it for {} s; start anew",
        .0.0, RUN_LEASE.as_secs()
    )]
    Swept(LuId),
    /// The client is there already.
    #[error("there is a client {0} already; `vioduct client ls` shows it")]
    ClientExists(ClientKey),
    /// There is no such client.
    #[error("there is no client {0}; make one with `vioduct client add`")]
    NoClient(ClientKey),
    /// The client has VTDs.
    #[error("client {client} has VTD {}; delete that first, with `vioduct vtd delete`", vtd.0)]
    ClientInUse {
        /// Which.
        client: ClientKey,
        /// One of them.
        vtd: VtdKey,
    },
    /// The text names no socket.
    #[error(
        "{0:?} is no socket; needed is unix:/PATH or tcp:ADDR:PORT, {FRONT_BYTES_MAX} bytes at most"
    )]
    Front(String),
    /// The client sees the LU already.
    #[error(
        "client {client} sees LU {} by VTD {} already; `vioduct lu ls` shows where", lu.0, vtd.0
    )]
    VtdExists {
        /// The client.
        client: ClientKey,
        /// The LU.
        lu: LuId,
        /// The VTD.
        vtd: VtdKey,
    },
    /// A client of the same CEC sees the LU: a hypervisor carries an LU for one of them.
    #[error(
        "client {client} of the same CEC sees LU {} by VTD {}; delete that first, with \
         `vioduct vtd delete`", lu.0, vtd.0
    )]
    SameCec {
        /// That client.
        client: ClientKey,
        /// The LU.
        lu: LuId,
        /// The VTD.
        vtd: VtdKey,
    },
    /// The LU, or the client, has as many VTDs as it can have.
    #[error("{0} has {VTDS_MAX} VTDs, as many as it can have")]
    TooManyVtds(String),
    /// There is no such VTD.
    #[error("there is no VTD {}; `vioduct vtd ls` lists those that are", .0.0)]
    NoVtd(VtdKey),
    /// A table has more rows than are read.
    #[error("table {0} has too many rows")]
    TooLarge(u16),
    /// Somebody else changed it meanwhile.
    #[error("somebody else has changed it meanwhile; look, and try again")]
    Changed,
    /// Somebody else changed it since whoever asks has looked.
    #[error("it was changed since version {wanted} and has version {has}; look, and try again")]
    Version {
        /// The version that it has.
        has: u64,
        /// The one that it was to have.
        wanted: u64,
    },
    /// A row is not read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The database did not answer, or refused.
    #[error("the database")]
    Db(#[from] DbError),
}

/// A row, its key, and the revision at which it was written last.
pub(crate) type Written<R> = (<R as Row>::Key, u64, R);

/// Makes the cluster `name` with these VIOSes, in any order.
///
/// # Errors
/// [`AdminError`]; after [`DbError::Unknown`] it may be made, and the next call says so.
pub(crate) async fn create(
    db: &Db,
    name: &str,
    vioses: &BTreeSet<NodeName>,
) -> Result<Written<ClusterRow>, AdminError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(AdminError::Name(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    if !(1..=FOUNDERS_MAX).contains(&vioses.len()) {
        return Err(AdminError::Founders(vioses.len()));
    }
    // Else numbers would be used up for nothing, each time.
    if let Some((_revision, cluster)) = read::<ClusterRow>(db, &TheCluster).await? {
        return Err(AdminError::Exists(cluster.name));
    }
    let id = UniqueId::draw(&mut rand::rng());
    let cluster = ClusterRow { name: name.to_owned(), id, language: LANGUAGE };
    let mut plan = Plan::default();
    plan.add(&TheCluster, &cluster);
    for (number, node) in numbers(db, Counter::Vioses, vioses.len()).await?.zip(vioses) {
        plan.put(node, &ViosRow::admitted(ViosId(number)));
    }
    Ok((TheCluster, plan.commit(db).await?, cluster))
}

/// Admits a VIOS by the name of its node; it registers by itself.
///
/// # Errors
/// [`AdminError`]; after [`DbError::Unknown`] it may be admitted, and the next call says so.
pub(crate) async fn add(db: &Db, node: &NodeName) -> Result<Written<ViosRow>, AdminError> {
    read::<ClusterRow>(db, &TheCluster).await?.ok_or(AdminError::NoCluster)?;
    let vioses = all::<ViosRow>(db).await?.1;
    if vioses.iter().any(|(name, _row)| name == node) {
        return Err(AdminError::Admitted(node.clone()));
    }
    if vioses.len() >= VIOSES_MAX {
        return Err(AdminError::Full);
    }
    let row = ViosRow::admitted(ViosId(number(db, Counter::Vioses).await?));
    let mut plan = Plan::default();
    plan.add(node, &row);
    Ok((node.clone(), plan.commit(db).await?, row))
}

/// Takes a VIOS out of the cluster. Its number and its unique ID are given to no other one; VTDs
/// stay, and their clients go by the other VIOSes. Gives the revision at which it is out.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn remove(
    db: &Db,
    node: &NodeName,
    version: Option<u64>,
) -> Result<u64, AdminError> {
    let found = read::<ViosRow>(db, node).await?;
    let (revision, row) = found.ok_or_else(|| AdminError::NotAdmitted(node.clone()))?;
    has_version(revision, version)?;
    let mut plan = Plan::default();
    plan.delete::<ViosRow>(node, revision);
    plan.changes.push(Change::Delete { place: RedundancyRow::place(node) });
    if let Some(registered) = row.registered {
        plan.changes.push(Change::Delete { place: UniqueRow::place(&registered.unique) });
    }
    plan.commit(db).await
}

/// Whether a row is still as whoever changes it has seen it, if that was said.
fn has_version(revision: u64, version: Option<u64>) -> Result<(), AdminError> {
    match version {
        Some(wanted) if wanted != revision => Err(AdminError::Version { has: revision, wanted }),
        Some(_) | None => Ok(()),
    }
}

/// All rows of a table in order, and of which revision they are at least.
///
/// # Errors
/// [`AdminError`]
async fn all<R: Row>(db: &Db) -> Result<(u64, Vec<(R::Key, R)>), AdminError> {
    let found = scan(db, &[R::TABLE], Freshness::Linearizable).await?;
    let unreadable = RowError::Unreadable { what: R::WHAT };
    let rows = found.rows.into_iter().map(|row| {
        let key = R::Key::read(&row.place.key).ok_or(unreadable)?;
        Ok((key, R::decode(&row.value)?))
    });
    Ok((found.revision, rows.collect::<Result<_, RowError>>()?))
}

/// How each VIOS reaches the storage, in order of their nodes.
///
/// # Errors
/// [`AdminError`]
pub async fn redundancy(db: &Db) -> Result<Vec<(NodeName, RedundancyRow)>, AdminError> {
    Ok(all(db).await?.1)
}

/// All rows of these tables as they are stored: at one moment, if an answer has room for them.
pub(crate) async fn scan(
    db: &Db,
    tables: &[TableId],
    freshness: Freshness,
) -> Result<Rows, AdminError> {
    let limit = u32::try_from(ROWS_MAX).expect("65,536");
    let mut left: Vec<Range> = tables.iter().copied().map(Range::all).collect();
    let mut found = Rows { revision: u64::MAX, rows: Vec::new(), is_cut: true };
    for _page in 0..PAGES_MAX {
        let page = db.scan(ShardId(0), left.clone(), limit, freshness).await?;
        found.revision = found.revision.min(page.revision);
        if page.is_cut
            && let Some(last) = page.rows.last()
        {
            let Place { table, key } = &last.place;
            let of_last = left.iter().position(|range| range.table == *table);
            left.drain(..of_last.unwrap_or(0));
            if let Some(range) = left.first_mut() {
                range.from = [key, &[0][..]].concat().into();
            }
        }
        found.rows.extend(page.rows);
        if !page.is_cut {
            return Ok(Rows { is_cut: false, ..found });
        }
    }
    Err(AdminError::TooLarge(left.first().map_or(0, |range| range.table.0)))
}

/// A row, and at which revision it was written last.
///
/// # Errors
/// [`AdminError`]
pub(super) async fn read<R: Row>(db: &Db, key: &R::Key) -> Result<Option<(u64, R)>, AdminError> {
    Looked::at(db, vec![R::place(key)]).await?.get(key)
}

/// Rows that were read at one moment.
pub(super) struct Looked(Rows);

impl Looked {
    /// Looks at those, of whatever tables.
    pub(super) async fn at(db: &Db, places: Vec<Place>) -> Result<Self, AdminError> {
        Ok(Self(db.get_many(places, Freshness::Linearizable).await?))
    }

    /// A row, and at which revision it was written last.
    pub(super) fn get<R: Row>(&self, key: &R::Key) -> Result<Option<(u64, R)>, AdminError> {
        let place = R::place(key);
        let mut rows = self.0.rows.iter();
        let found = rows.find(|row| row.place == place);
        let decoded = found.map(|row| Ok((row.revision, R::decode(&row.value)?)));
        decoded.transpose().map_err(AdminError::Row)
    }
}

/// Changes that are made together if rows are as they were read.
#[derive(Default)]
pub(super) struct Plan {
    conditions: Vec<Condition>,
    changes: Vec<Change>,
}

impl Plan {
    /// The row of this key must not be there, and is then.
    pub(super) fn add<R: Row>(&mut self, key: &R::Key, row: &R) {
        self.replace(key, 0, row);
    }

    /// The row must be as it was read, at this revision, and is replaced.
    pub(super) fn replace<R: Row>(&mut self, key: &R::Key, revision: u64, row: &R) {
        self.expect::<R>(key, revision);
        self.put(key, row);
    }

    pub(super) fn put<R: Row>(&mut self, key: &R::Key, row: &R) {
        let (place, value) = (R::place(key), row.encode());
        self.changes.push(Change::Put { place, value, lease: None });
    }

    /// The row is there for as long as the lease lasts.
    pub(super) fn put_leased<R: Row>(&mut self, key: &R::Key, row: &R, lease: &Lease) {
        let (place, value) = (R::place(key), row.encode());
        self.changes.push(Change::Put { place, value, lease: Some(lease.number()) });
    }

    /// The row must be as it was read, and is taken away.
    pub(super) fn delete<R: Row>(&mut self, key: &R::Key, revision: u64) {
        self.expect::<R>(key, revision);
        self.changes.push(Change::Delete { place: R::place(key) });
    }

    /// The row must be as it was read; 0: not there.
    pub(super) fn expect<R: Row>(&mut self, key: &R::Key, revision: u64) {
        self.conditions.push(Condition::Revision { place: R::place(key), revision });
    }

    /// Makes them; gives the revision at which they are there.
    pub(super) async fn commit(self, db: &Db) -> Result<u64, AdminError> {
        match db.transact(self.conditions, self.changes).await? {
            Outcome::Done { revision } => Ok(revision),
            Outcome::Refused { .. } => Err(AdminError::Changed),
        }
    }
}

/// Tries a change again whose rows others have changed meanwhile.
async fn contended<T, F>(mut change: impl FnMut() -> F) -> Result<T, AdminError>
where
    F: Future<Output = Result<T, AdminError>>,
{
    for _try in 1..TRIES {
        match change().await {
            Err(AdminError::Changed) => {}
            done => return done,
        }
    }
    change().await
}

/// What is numbered.
#[derive(Clone, Copy)]
enum Counter {
    Vioses,
    Lus,
    Clients,
    Vtds,
    Adapters,
}

/// So many numbers that were never given before.
async fn numbers(
    db: &Db,
    counter: Counter,
    count: usize,
) -> Result<impl Iterator<Item = u32> + use<>, AdminError> {
    let name: &[u8] = match counter {
        Counter::Vioses => b"vios",
        Counter::Lus => b"lu",
        Counter::Clients => b"client",
        Counter::Vtds => b"vtd",
        Counter::Adapters => b"adapter",
    };
    let count = u32::try_from(count).map_err(|_too_many| DbError::Exhausted)?;
    let first = db.allocate(Bytes::from_static(name), count).await?;
    let first = u32::try_from(first).map_err(|_too_large| DbError::Exhausted)?;
    Ok(first..first.saturating_add(count))
}

async fn number(db: &Db, counter: Counter) -> Result<u32, AdminError> {
    Ok(numbers(db, counter, 1).await?.next().ok_or(DbError::Exhausted)?)
}

/// An LU that is not being deleted, and its row's revision.
async fn live_lu(db: &Db, lu: LuId) -> Result<(u64, LuRow), AdminError> {
    let (revision, row) = read::<LuRow>(db, &lu).await?.ok_or(AdminError::NoLu(lu))?;
    match row.phase {
        LuPhase::Deleting => Err(AdminError::LuDeleting(lu)),
        LuPhase::Making | LuPhase::Ready | LuPhase::Failed(_) => Ok((revision, row)),
    }
}
