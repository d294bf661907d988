//! Pools and LUs.

use vioduct_db::client::Db;

use super::{
    AdminError, Counter, EXPORT_BYTES_MAX, Looked, Plan, Written, all, contended, has_version,
    live_lu, number, read,
};
use crate::cluster::row::{
    ClusterRow, ExportRow, LuPhase, LuRow, ObjectName, OwnerRow, PoolRow, Row, Storage, TheCluster,
};
use crate::redirect::name::LuId;
use crate::repository::volume::LU_BYTES_MAX;

/// LUs have whole blocks of so many bytes.
pub(super) const BLOCK: u64 = 512;

/// Makes a pool of what a storage node serves, or of a storage outside of the cluster.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome it may be there, and the next call says so.
pub(crate) async fn create_pool(
    db: &Db,
    name: &ObjectName,
    storage: Storage,
) -> Result<Written<PoolRow>, AdminError> {
    if storage == (Storage::Outside { request_life_ms: Some(0) }) {
        return Err(AdminError::NoLife);
    }
    let row = PoolRow { storage, lus: 0 };
    let new = &row;
    let revision = contended(move || async move {
        let cluster = read::<ClusterRow>(db, &TheCluster).await?;
        let (revision, cluster) = cluster.ok_or(AdminError::NoCluster)?;
        for (pool, PoolRow { storage, .. }) in all::<PoolRow>(db).await?.1 {
            if pool == *name {
                return Err(AdminError::PoolExists(pool));
            }
            match (&storage, &new.storage) {
                (Storage::Outside { .. }, Storage::Outside { .. }) => {
                    return Err(AdminError::OneOutside(pool));
                }
                (storage, new) if storage == new => {}
                _other => return Err(AdminError::OtherStorage { pool, storage }),
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
    if !(BLOCK..=LU_BYTES_MAX).contains(&size) || !size.is_multiple_of(BLOCK) {
        return Err(AdminError::LuSize(size));
    }
    let row = LuRow { size, ..new_lu(pool_name.clone(), LuPhase::Making) };
    add_lu(db, row, also).await
}

/// Makes an LU of an export that a storage outside of the cluster has. Nobody looks whether it has
/// it.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome there may be one.
pub(crate) async fn create_export(
    db: &Db,
    pool_name: &ObjectName,
    export: ExportRow,
) -> Result<Written<LuRow>, AdminError> {
    if export.name.len() > EXPORT_BYTES_MAX || export.name.chars().any(char::is_control) {
        return Err(AdminError::ExportName);
    }
    let export = Some(export);
    add_lu(db, LuRow { export, ..new_lu(pool_name.clone(), LuPhase::Ready) }, |_lu, _plan| {}).await
}

fn new_lu(pool: ObjectName, phase: LuPhase) -> LuRow {
    let birth = rand::random_range(1..=u64::MAX);
    LuRow { pool, size: 0, birth, phase, vtds: Vec::new(), export: None }
}

/// Adds an LU to its pool.
async fn add_lu(
    db: &Db,
    row: LuRow,
    also: impl Fn(LuId, &mut Plan),
) -> Result<Written<LuRow>, AdminError> {
    // Else a number would be used up for nothing.
    fitting_pool(db, &row).await?;
    let lu = LuId(number(db, Counter::Lus).await?.into());
    let (new, also) = (&row, &also);
    let revision = contended(move || async move {
        let (revision, mut counted) = fitting_pool(db, new).await?;
        counted.lus = counted.lus.saturating_add(1);
        let mut plan = Plan::default();
        plan.replace(&new.pool, revision, &counted);
        plan.add(&lu, new);
        also(lu, &mut plan);
        plan.commit(db).await
    })
    .await?;
    Ok((lu, revision, row))
}

/// The pool of an LU that is to be made, if it can have such a one.
async fn fitting_pool(db: &Db, new: &LuRow) -> Result<(u64, PoolRow), AdminError> {
    let name = &new.pool;
    // First: two that make LUs of one pool at once meet in its row, and exports have one pool.
    let (revision, row) = pool(db, name).await?;
    match (&row.storage, &new.export) {
        (Storage::Node(_), None) => {}
        (Storage::Node(_), Some(_)) => return Err(AdminError::NoExports(name.clone())),
        (Storage::Outside { .. }, None) => return Err(AdminError::NoSizes(name.clone())),
        (Storage::Outside { .. }, Some(ExportRow { name, .. })) => {
            let is_it = |row: &LuRow| row.export.as_ref().is_some_and(|other| other.name == *name);
            let lus = all::<LuRow>(db).await?.1;
            if let Some((lu, _row)) = lus.into_iter().find(|(_lu, row)| is_it(row)) {
                return Err(AdminError::ExportTaken { name: name.clone(), lu });
            }
        }
    }
    Ok((revision, row))
}

/// What became of an LU that was to be deleted.
pub(crate) enum Deleted {
    /// Its storage has to free its room.
    Deleting(Written<LuRow>),
    /// It is gone, from this revision on.
    Gone(u64),
}

/// Has an LU deleted that no VTD shows: its storage frees its room, then its row goes. One outside
/// of the cluster is forgotten, once its owner has let it go.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn delete_lu(
    db: &Db,
    lu: LuId,
    version: Option<u64>,
) -> Result<Deleted, AdminError> {
    contended(move || async move {
        let (revision, row) = live_lu(db, lu).await?;
        has_version(revision, version)?;
        if let Some(vtd) = row.vtds.first() {
            return Err(AdminError::LuInUse { lu, vtd: *vtd });
        }
        let mut plan = Plan::default();
        if row.export.is_some() {
            plan.delete::<LuRow>(&lu, revision);
            forget(db, &mut plan, lu, &row.pool).await?;
            return Ok(Deleted::Gone(plan.commit(db).await?));
        }
        let row = LuRow { phase: LuPhase::Deleting, ..row };
        plan.replace(&lu, revision, &row);
        Ok(Deleted::Deleting((lu, plan.commit(db).await?, row)))
    })
    .await
}

/// Takes out what else there is of an LU outside of the cluster.
async fn forget(db: &Db, plan: &mut Plan, lu: LuId, pool: &ObjectName) -> Result<(), AdminError> {
    let looked = Looked::at(db, vec![OwnerRow::place(&lu), PoolRow::place(pool)]).await?;
    let (revision, owner) = looked.owner(lu)?;
    match owner {
        // Under another number, the next owner would take it for clear.
        Some(OwnerRow { node, is_clean: false, .. }) => return Err(AdminError::Owned { lu, node }),
        Some(_) => plan.delete::<OwnerRow>(&lu, revision),
        None => plan.expect::<OwnerRow>(&lu, 0),
    }
    if let Some((revision, mut counted)) = looked.get::<PoolRow>(pool)? {
        counted.lus = counted.lus.saturating_sub(1);
        plan.replace(pool, revision, &counted);
    }
    Ok(())
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
