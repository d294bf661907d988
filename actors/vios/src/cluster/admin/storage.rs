//! Pools and LUs.

use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use super::{
    AdminError, Counter, Plan, Written, all, contended, has_version, live_lu, number, read,
};
use crate::cluster::row::{ClusterRow, LuPhase, LuRow, ObjectName, PoolRow, TheCluster};
use crate::redirect::name::LuId;
use crate::repository::volume::LU_BYTES_MAX;

/// LUs have whole blocks of so many bytes.
pub(super) const BLOCK: u64 = 512;

/// Makes a pool of what a storage node serves.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome it may be there, and the next call says so.
pub(crate) async fn create_pool(
    db: &Db,
    name: &ObjectName,
    storage: &NodeName,
) -> Result<Written<PoolRow>, AdminError> {
    let row = PoolRow { storage: storage.clone(), lus: 0 };
    let new = &row;
    let revision = contended(move || async move {
        let cluster = read::<ClusterRow>(db, &TheCluster).await?;
        let (revision, cluster) = cluster.ok_or(AdminError::NoCluster)?;
        for (pool, row) in all::<PoolRow>(db).await?.1 {
            if pool == *name {
                return Err(AdminError::PoolExists(pool));
            }
            if row.storage != *storage {
                return Err(AdminError::OtherStorage { pool, storage: row.storage });
            }
        }
        let mut plan = Plan::default();
        // Two that make pools at once meet here.
        plan.replace(&TheCluster, revision, &cluster);
        plan.add(name, new);
        plan.commit(db).await
    })
    .await?;
    Ok((name.clone(), revision, row))
}

/// Forgets a pool that has no LUs. Gives the revision at which it is forgotten.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn delete_pool(
    db: &Db,
    name: &ObjectName,
    version: Option<u64>,
) -> Result<u64, AdminError> {
    let (revision, row) = pool(db, name).await?;
    has_version(revision, version)?;
    if row.lus > 0 {
        return Err(AdminError::PoolInUse { pool: name.clone(), lus: row.lus });
    }
    let mut plan = Plan::default();
    plan.delete::<PoolRow>(name, revision);
    plan.commit(db).await
}

/// Has an LU of `size` bytes made: its row is there when this returns, and its storage makes it
/// when it sees that.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome there may be one.
pub(crate) async fn create_lu(
    db: &Db,
    pool_name: &ObjectName,
    size: u64,
) -> Result<Written<LuRow>, AdminError> {
    create_lu_with(db, pool_name, size, |_lu, _plan| {}).await
}

/// The same, together with what `also` adds to the transaction.
pub(super) async fn create_lu_with(
    db: &Db,
    pool_name: &ObjectName,
    size: u64,
    also: impl Fn(LuId, &mut Plan),
) -> Result<Written<LuRow>, AdminError> {
    let also = &also;
    if !(BLOCK..=LU_BYTES_MAX).contains(&size) || !size.is_multiple_of(BLOCK) {
        return Err(AdminError::LuSize(size));
    }
    pool(db, pool_name).await?;
    let lu = LuId(number(db, Counter::Lus).await?.into());
    let (pool_of, birth) = (pool_name.clone(), rand::random_range(1..=u64::MAX));
    let row = LuRow { pool: pool_of, size, birth, phase: LuPhase::Making, vtds: Vec::new() };
    let new = &row;
    let revision = contended(move || async move {
        let (revision, mut row) = pool(db, pool_name).await?;
        row.lus = row.lus.saturating_add(1);
        let mut plan = Plan::default();
        plan.replace(pool_name, revision, &row);
        plan.add(&lu, new);
        also(lu, &mut plan);
        plan.commit(db).await
    })
    .await?;
    Ok((lu, revision, row))
}

/// Has an LU deleted that no VTD shows: its storage frees its room, then its row goes.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn delete_lu(
    db: &Db,
    lu: LuId,
    version: Option<u64>,
) -> Result<Written<LuRow>, AdminError> {
    contended(move || async move {
        let (revision, row) = live_lu(db, lu).await?;
        has_version(revision, version)?;
        if let Some(vtd) = row.vtds.first() {
            return Err(AdminError::LuInUse { lu, vtd: *vtd });
        }
        let mut plan = Plan::default();
        let row = LuRow { phase: LuPhase::Deleting, ..row };
        plan.replace(&lu, revision, &row);
        Ok((lu, plan.commit(db).await?, row))
    })
    .await
}

/// What a storage says of an LU of its own: it is there, or can't be made. An LU that is to be
/// deleted meanwhile is left so. Whether that is news.
pub(crate) async fn lu_is(db: &Db, lu: LuId, phase: &LuPhase) -> Result<bool, AdminError> {
    contended(move || async move {
        let Some((revision, row)) = read::<LuRow>(db, &lu).await? else { return Ok(false) };
        if row.phase == LuPhase::Deleting || row.phase == *phase {
            return Ok(false);
        }
        let mut plan = Plan::default();
        plan.replace(&lu, revision, &LuRow { phase: phase.clone(), ..row });
        plan.commit(db).await.map(|_revision| true)
    })
    .await
}

/// An LU that was to be deleted is gone.
pub(crate) async fn lu_is_gone(db: &Db, lu: LuId) -> Result<(), AdminError> {
    contended(move || async move {
        let Some((revision, row)) = read::<LuRow>(db, &lu).await? else { return Ok(()) };
        let mut plan = Plan::default();
        plan.delete::<LuRow>(&lu, revision);
        if let Some((revision, mut pool)) = read::<PoolRow>(db, &row.pool).await? {
            pool.lus = pool.lus.saturating_sub(1);
            plan.replace(&row.pool, revision, &pool);
        }
        plan.commit(db).await.map(drop)
    })
    .await
}

pub(super) async fn pool(db: &Db, name: &ObjectName) -> Result<(u64, PoolRow), AdminError> {
    read::<PoolRow>(db, name).await?.ok_or_else(|| AdminError::NoPool(name.clone()))
}
