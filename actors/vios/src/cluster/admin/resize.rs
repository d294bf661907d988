//! LUs that become larger.

use vioduct_db::client::Db;

use super::storage::BLOCK;
use super::{AdminError, Plan, Written, contended, has_version, live_lu};
use crate::cluster::row::{LuPhase, LuRow};
use crate::redirect::name::LuId;
use crate::repository::volume::LU_BYTES_MAX;

/// Has an LU made larger: its row says so when this returns, and its storage makes it so when it
/// sees that. Nothing is changed if it has that size already.
///
/// # Errors
/// [`AdminError`]: [`Shrink`](AdminError::Shrink) for a smaller size, and others; after an unknown
/// outcome it may be done, and may be done again.
pub(crate) async fn resize_lu(
    db: &Db,
    lu: LuId,
    size: u64,
    version: Option<u64>,
) -> Result<Written<LuRow>, AdminError> {
    if !(BLOCK..=LU_BYTES_MAX).contains(&size) || !size.is_multiple_of(BLOCK) {
        return Err(AdminError::LuSize(size));
    }
    contended(move || async move {
        let (revision, row) = live_lu(db, lu).await?;
        has_version(revision, version)?;
        if row.export.is_some() {
            return Err(AdminError::NotOurs(lu));
        }
        if let LuPhase::Failed(why) = row.phase {
            return Err(AdminError::LuFailed { lu, why });
        }
        if size < row.size {
            return Err(AdminError::Shrink { lu, has: row.size, wanted: size });
        }
        if size == row.size {
            return Ok((lu, revision, row));
        }
        let row = LuRow { size, ..row };
        let mut plan = Plan::default();
        plan.replace(&lu, revision, &row);
        Ok((lu, plan.commit(db).await?, row))
    })
    .await
}
