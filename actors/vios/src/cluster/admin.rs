//! What operators change of a cluster: that it is there, and which VIOSes belong to it.

use std::collections::BTreeSet;

use bytes::Bytes;
use vioduct_certs::identity::NodeName;
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbError, Freshness, Outcome};
use vioduct_db::command::{Change, Condition, PARTS_MAX, Place};
use vioduct_db::query::{FoundRow, ROWS_MAX};

use super::row::{
    ClusterRow, PrimaryRow, Row, RowError, UniqueId, VIOS_NUMBERS, ViosRow, cluster_place,
    primary_place, unique_place, vios_place, vios_table,
};
use crate::redirect::name::ViosId;
use crate::roles::layout::VIOSES_MAX;

/// The language of a cluster that is made by this program.
const LANGUAGE: u32 = 1;
/// Longest name of a cluster, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most VIOSes that a cluster begins with; more are admitted later.
pub const FOUNDERS_MAX: usize = PARTS_MAX - 1;

/// Why the cluster is as before, or as far as [`Db`](Self::Db) leaves that open. Fault: the
/// operator's, but for the last two.
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
    /// Somebody else changed it meanwhile.
    #[error("somebody else has changed it meanwhile; look, and try again")]
    Changed,
    /// A row is not read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The database did not answer, or refused.
    #[error("the database")]
    Db(#[from] DbError),
}

/// A cluster's members, as the database has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The revision of the list of VIOSes.
    pub revision: u64,
    /// The cluster.
    pub cluster: ClusterRow,
    /// Its primary, when there is one.
    pub primary: Option<PrimaryRow>,
    /// Its VIOSes, by their nodes, in order.
    pub vioses: Vec<(String, ViosRow)>,
}

/// Makes the cluster `name` with these VIOSes, in any order.
///
/// # Errors
/// [`AdminError`]; after [`DbError::Unknown`] it may be made, and the next call says so.
pub async fn create(
    db: &Db,
    name: &str,
    vioses: &BTreeSet<NodeName>,
) -> Result<ClusterRow, AdminError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(AdminError::Name(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    if !(1..=FOUNDERS_MAX).contains(&vioses.len()) {
        return Err(AdminError::Founders(vioses.len()));
    }
    // Else numbers would be used up for nothing, each time.
    if let Some((_revision, cluster)) = read::<ClusterRow>(db, cluster_place()).await? {
        return Err(AdminError::Exists(cluster.name));
    }
    let id = UniqueId::draw(&mut rand::rng());
    let cluster = ClusterRow { name: name.to_owned(), id, language: LANGUAGE };
    let mut changes = vec![put(cluster_place(), &cluster)];
    for (number, node) in numbers(db, vioses.len()).await?.zip(vioses) {
        changes.push(put(vios_place(node), &ViosRow::admitted(number)));
    }
    match db.transact(vec![absent(cluster_place())], changes).await? {
        Outcome::Done { .. } => Ok(cluster),
        Outcome::Refused { .. } => Err(AdminError::Changed),
    }
}

/// Admits a VIOS by the name of its node; it registers by itself. Gives its number.
///
/// # Errors
/// [`AdminError`]; after [`DbError::Unknown`] it may be admitted, and the next call says so.
pub async fn add(db: &Db, node: &NodeName) -> Result<ViosId, AdminError> {
    let members = members(db).await?;
    if members.vioses.iter().any(|(name, _row)| name == node.as_str()) {
        return Err(AdminError::Admitted(node.clone()));
    }
    if members.vioses.len() >= VIOSES_MAX {
        return Err(AdminError::Full);
    }
    let number = numbers(db, 1).await?.next().ok_or(DbError::Exhausted)?;
    let change = put(vios_place(node), &ViosRow::admitted(number));
    match db.transact(vec![absent(vios_place(node))], vec![change]).await? {
        Outcome::Done { .. } => Ok(number),
        Outcome::Refused { .. } => Err(AdminError::Admitted(node.clone())),
    }
}

/// Takes a VIOS out of the cluster. Its number and its unique ID are given to no other one.
///
/// # Errors
/// [`AdminError`]
pub async fn remove(db: &Db, node: &NodeName) -> Result<(), AdminError> {
    let place = vios_place(node);
    let found = read::<ViosRow>(db, place.clone()).await?;
    let (revision, row) = found.ok_or_else(|| AdminError::NotAdmitted(node.clone()))?;
    let mut changes = vec![Change::Delete { place: place.clone() }];
    if let Some(registered) = row.registered {
        changes.push(Change::Delete { place: unique_place(registered.unique) });
    }
    match db.transact(vec![Condition::Revision { place, revision }], changes).await? {
        Outcome::Done { .. } => Ok(()),
        Outcome::Refused { .. } => Err(AdminError::Changed),
    }
}

/// The cluster and its VIOSes.
///
/// # Errors
/// [`AdminError`]
pub async fn members(db: &Db) -> Result<Members, AdminError> {
    let cluster = read::<ClusterRow>(db, cluster_place()).await?;
    let (_revision, cluster) = cluster.ok_or(AdminError::NoCluster)?;
    let primary = read::<PrimaryRow>(db, primary_place()).await?.map(|(_revision, row)| row);
    let (revision, vioses) = vioses(db).await?;
    Ok(Members { revision, cluster, primary, vioses })
}

/// The rows of all VIOSes, and of which revision they are.
pub(super) async fn vioses(db: &Db) -> Result<(u64, Vec<(String, ViosRow)>), AdminError> {
    let (table, all) = (vios_table(), (Bytes::new(), None));
    let limit = u32::try_from(ROWS_MAX).expect("65,536");
    let found = db.scan(ShardId(0), table, all, limit, Freshness::Linearizable).await?;
    if found.is_cut {
        return Err(RowError::Unreadable { what: "the list of VIOSes" }.into());
    }
    let row = |row: FoundRow| {
        let node = std::str::from_utf8(&row.key).map(str::to_owned);
        let unreadable = |_error| RowError::Unreadable { what: "the name of a VIOS's node" };
        Ok((node.map_err(unreadable)?, ViosRow::decode(&row.value)?))
    };
    let rows = found.rows.into_iter().map(row).collect::<Result<_, RowError>>()?;
    Ok((found.revision, rows))
}

/// A row, and at which revision it was written last.
pub(super) async fn read<R: Row>(db: &Db, place: Place) -> Result<Option<(u64, R)>, AdminError> {
    let found = db.get(place, Freshness::Linearizable).await?;
    let decoded = found.map(|row| Ok((row.revision, R::decode(&row.value)?)));
    decoded.transpose().map_err(AdminError::Row)
}

/// So many numbers of VIOSes that were never given before.
async fn numbers(
    db: &Db,
    count: usize,
) -> Result<impl Iterator<Item = ViosId> + use<>, AdminError> {
    let count = u32::try_from(count).map_err(|_too_many| DbError::Exhausted)?;
    let first = db.allocate(Bytes::from_static(VIOS_NUMBERS), count).await?;
    let first = u32::try_from(first).map_err(|_too_large| DbError::Exhausted)?;
    Ok((first..first.saturating_add(count)).map(ViosId))
}

pub(super) fn put(place: Place, row: &impl Row) -> Change {
    Change::Put { place, value: row.encode(), lease: None }
}

fn absent(place: Place) -> Condition {
    Condition::Revision { place, revision: 0 }
}
