//! LUs that become larger.

use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use super::storage::{BLOCK, pool};
use super::{AdminError, Plan, contended, live_lu};
use crate::cluster::row::{LuPhase, LuRow};
use crate::redirect::name::LuId;
use crate::repository::volume::LU_BYTES_MAX;

/// Has an LU made larger: its row says so when this returns, and its storage makes it so when it
/// sees that. Nothing is changed if it has that size already. Gives the storage.
///
/// # Errors
/// [`AdminError`]: [`Shrink`](AdminError::Shrink) for a smaller size, and others; after an unknown
/// outcome it may be done, and may be done again.
pub async fn resize_lu(db: &Db, lu: LuId, size: u64) -> Result<NodeName, AdminError> {
    if !(BLOCK..=LU_BYTES_MAX).contains(&size) || !size.is_multiple_of(BLOCK) {
        return Err(AdminError::LuSize(size));
    }
    contended(move || async move {
        let (revision, row) = live_lu(db, lu).await?;
        if let LuPhase::Failed(why) = row.phase {
            return Err(AdminError::LuFailed { lu, why });
        }
        if size < row.size {
            return Err(AdminError::Shrink { lu, has: row.size, wanted: size });
        }
        let storage = pool(db, &row.pool).await?.1.storage;
        if size > row.size {
            let mut plan = Plan::default();
            plan.replace(&lu, revision, &LuRow { size, ..row });
            plan.commit(db).await?;
        }
        Ok(storage)
    })
    .await
}
