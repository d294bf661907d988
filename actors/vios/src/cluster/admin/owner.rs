//! Who owns LUs on a storage outside of the cluster, which refuses no old owner.
//!
//! ```text
//!            taken by a node                    closed in order
//!   nobody ──────────────────▶ owned, not clean ───────────────▶ owned, clean
//!                                 ▲        ├── dead for long enough ──▲
//!       again, by the same node ──╯        ╰── an operator knows ─────┤
//!                              ▲                                      │
//!                              ╰────────── taken by any node ─────────╯
//! ```
//!
//! Source: redirect protocol, rule 12.

use vioduct_certs::identity::NodeName;
use vioduct_db::client::Db;

use super::{AdminError, Looked, Plan, Written, contended};
use crate::cluster::row::{LuRow, OwnerRow, Row, VtdKey};
use crate::redirect::name::LuId;

/// What a new owner begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnedLu {
    /// Above the numbers of all before.
    pub(crate) owner: u64,
    /// No attempt of an earlier owner can land.
    pub(crate) is_clear: bool,
}

/// Takes an LU for the hypervisor on this node. When this returns, the database knows.
///
/// A node has one process, which has its data directory: who owned the LU on the same node is dead.
/// The VTD must show the LU, so that no hypervisor takes one by what it remembers.
///
/// # Errors
/// [`AdminError::Owned`] as long as the hypervisor of another node has not let it go, and others.
pub(crate) async fn take_lu(
    db: &Db,
    lu: LuId,
    vtd: VtdKey,
    node: &NodeName,
) -> Result<OwnedLu, AdminError> {
    contended(move || async move {
        let looked = Looked::at(db, vec![LuRow::place(&lu), OwnerRow::place(&lu)]).await?;
        let (lu_revision, row) = looked.get::<LuRow>(&lu)?.ok_or(AdminError::NoLu(lu))?;
        if row.export.is_none() || !row.vtds.contains(&vtd) {
            return Err(AdminError::NoVtd(vtd));
        }
        let (revision, before) = looked.owner(lu)?;
        if let Some(OwnerRow { node: other, is_clean: false, .. }) = &before
            && other != node
        {
            return Err(AdminError::Owned { lu, node: other.clone() });
        }
        let is_clear = before.as_ref().is_none_or(|before| before.is_clean);
        let owner = before.map_or(0, |before| before.owner).saturating_add(1);
        let mut plan = Plan::default();
        plan.expect::<LuRow>(&lu, lu_revision);
        plan.replace(&lu, revision, &OwnerRow { node: node.clone(), owner, is_clean: false });
        plan.commit(db).await?;
        Ok(OwnedLu { owner, is_clear })
    })
    .await
}

/// The owner of this number has closed in order, or is dead and all of it with it. Nothing is
/// changed if there is a later one.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn let_go(db: &Db, lu: LuId, owner: u64) -> Result<(), AdminError> {
    contended(move || async move {
        let (revision, row) = Looked::at(db, vec![OwnerRow::place(&lu)]).await?.owner(lu)?;
        let is_it = |row: &OwnerRow| row.owner == owner && !row.is_clean;
        let Some(row) = row.filter(is_it) else { return Ok(()) };
        let mut plan = Plan::default();
        plan.replace(&lu, revision, &OwnerRow { is_clean: true, ..row });
        plan.commit(db).await.map(drop)
    })
    .await
}

/// An operator knows that the owner of an LU which no VTD shows is gone, and that nothing of it can
/// land any more.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn release_lu(
    db: &Db,
    lu: LuId,
    version: Option<u64>,
) -> Result<Written<LuRow>, AdminError> {
    contended(move || async move {
        let looked = Looked::at(db, vec![LuRow::place(&lu), OwnerRow::place(&lu)]).await?;
        let (lu_revision, row) = looked.get::<LuRow>(&lu)?.ok_or(AdminError::NoLu(lu))?;
        super::has_version(lu_revision, version)?;
        if let Some(vtd) = row.vtds.first() {
            return Err(AdminError::LuInUse { lu, vtd: *vtd });
        }
        let (revision, owner) = looked.owner(lu)?;
        let owner = owner.filter(|owner| !owner.is_clean).ok_or(AdminError::NotOwned(lu))?;
        let mut plan = Plan::default();
        // A version of it that was seen before is no more.
        plan.replace(&lu, lu_revision, &row);
        plan.replace(&lu, revision, &OwnerRow { is_clean: true, ..owner });
        Ok((lu, plan.commit(db).await?, row))
    })
    .await
}

impl Looked {
    /// The row of an LU's owner, and its revision; 0 if there is none.
    pub(super) fn owner(&self, lu: LuId) -> Result<(u64, Option<OwnerRow>), AdminError> {
        let found = self.get::<OwnerRow>(&lu)?;
        Ok(found.map_or((0, None), |(revision, row)| (revision, Some(row))))
    }
}
