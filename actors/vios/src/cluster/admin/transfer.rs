//! What stands in the database while the bytes of an LU are copied in or out: a client and a VTD
//! for that alone, and a note by which whatever a killed run has left is found and taken away.
//!
//! ```text
//!  claimed ──client and VTD, one transaction──▶ shown ──all of it, one transaction──▶ ended
//!     │                                           │
//!     └── killed: its lease ends ─────────────────┴──────▶ swept by the next run
//! ```

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use vioduct_db::ShardId;
use vioduct_db::client::{Db, DbError, Lease};
use vioduct_db::command::Change;

use super::client::is_front;
use super::storage::create_lu_with;
use super::{AdminError, Counter, Plan, all, contended, live_lu, number, read};
use crate::cluster::row::{
    ClientKey, ClientRow, LuPhase, LuRow, ObjectName, Row, RunnerRow, TransferKind, TransferRow,
    VtdKey, VtdRow,
};
use crate::redirect::name::LuId;

/// How long a run that was killed is taken for one that runs.
pub const RUN_LEASE: Duration = Duration::from_secs(5);
/// How often the lease is kept alive.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// An LU whose bytes this process copies. It is not ended when this is dropped, but by
/// [`end`](Self::end), or by time.
#[derive(Debug)]
pub struct Transfer {
    lu: LuId,
    kind: TransferKind,
    lease: Lease,
}

/// What a transfer that does not run any more has left, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its LU.
    pub lu: LuId,
    /// Which way.
    pub kind: TransferKind,
    /// Its client and its VTD, which are gone now.
    pub shown: Option<(ClientKey, VtdKey)>,
    /// The LU is being deleted: it was half imported.
    pub is_deleted: bool,
}

impl Transfer {
    /// Has an LU of `size` bytes made for an import that `by` runs. It goes again unless the
    /// transfer is ended with it.
    ///
    /// # Errors
    /// [`AdminError`]; after an unknown outcome there may be one, which the next sweep takes away.
    pub async fn import(
        db: &Db,
        pool: &ObjectName,
        size: u64,
        by: &str,
    ) -> Result<Self, AdminError> {
        let (kind, lease) = (TransferKind::Import, db.grant(ShardId(0), RUN_LEASE).await?);
        let lu = create_lu_with(db, pool, size, |lu, plan| note(plan, lu, kind, &lease, by)).await;
        match lu {
            Ok((lu, _revision, _row)) => Ok(Self { lu, kind, lease }),
            Err(error) => Err(given_up(&lease, error).await),
        }
    }

    /// Takes an LU that no VTD shows for an export that `by` runs.
    ///
    /// # Errors
    /// [`AdminError::LuShown`], [`AdminError::Transferring`] and others; after an unknown outcome
    /// the next sweep mends it.
    pub async fn export(db: &Db, lu: LuId, by: &str) -> Result<Self, AdminError> {
        let (kind, lease) = (TransferKind::Export, db.grant(ShardId(0), RUN_LEASE).await?);
        let lease_ref = &lease;
        let claimed = contended(move || async move {
            // First: that run's own VTD may show it.
            if let Some((_revision, row)) = read::<TransferRow>(db, &lu).await? {
                let by = read::<RunnerRow>(db, &lu).await?.map(|(_revision, runner)| runner.by);
                return Err(AdminError::Transferring { lu, kind: row.kind, by });
            }
            let (revision, _row) = unshown(db, lu).await?;
            let mut plan = Plan::default();
            plan.expect::<LuRow>(&lu, revision);
            note(&mut plan, lu, kind, lease_ref, by);
            plan.commit(db).await
        });
        match claimed.await {
            Ok(_revision) => Ok(Self { lu, kind, lease }),
            Err(error) => Err(given_up(&lease, error).await),
        }
    }

    /// The LU.
    #[must_use]
    pub const fn lu(&self) -> LuId {
        self.lu
    }

    /// Shows the LU to a client of its own in that CEC, at `front` or where the hypervisor says.
    ///
    /// # Errors
    /// [`AdminError`]; [`end`](Self::end) takes away what was made.
    pub async fn show(&self, db: &Db, cec: u32, front: Option<&str>) -> Result<VtdKey, AdminError> {
        if let Some(text) = front.filter(|text| !is_front(text)) {
            return Err(AdminError::Front(text.chars().take(64).collect()));
        }
        let (lu, run) = (self.lu, self.lease.number());
        let name = format!("{}-lu{}", self.kind, lu.0).parse();
        let client = &ClientKey { cec, name: name.expect("letters, digits and a dash") };
        let client_row =
            &ClientRow { number: number(db, Counter::Clients).await?, vtds: Vec::new() };
        let vtd = VtdKey(number(db, Counter::Vtds).await?);
        let vtd_row = &VtdRow { lu: lu.0, client: client.clone(), front: front.map(str::to_owned) };
        contended(move || async move {
            let (revision, transfer) = own(db, lu, run).await?.ok_or(AdminError::Swept(lu))?;
            let (lu_revision, mut lu_row) = unshown(db, lu).await?;
            if read::<ClientRow>(db, client).await?.is_some() {
                return Err(AdminError::ClientExists(client.clone()));
            }
            lu_row.vtds.push(vtd);
            let mut plan = Plan::default();
            let shown = Some((client.clone(), vtd));
            plan.replace(&lu, revision, &TransferRow { shown, ..transfer });
            plan.replace(&lu, lu_revision, &lu_row);
            plan.add(client, &ClientRow { vtds: vec![vtd], ..client_row.clone() });
            plan.add(&vtd, vtd_row);
            plan.commit(db).await
        })
        .await?;
        Ok(vtd)
    }

    /// Says that this run goes on, for as long as it is polled. Gives why it may not any more: it
    /// was taken for a killed one. A database that is away is waited for.
    pub async fn keep(&self) -> AdminError {
        loop {
            sleep_until(Instant::now() + KEEP_EVERY).await;
            if let Err(DbError::NoLease { .. }) = self.lease.keep_alive().await {
                return AdminError::Swept(self.lu);
            }
        }
    }

    /// Takes client, VTD and note away. With `keeps_lu` the LU stays, as that of an export always
    /// does: an import is done when this returns.
    ///
    /// # Errors
    /// [`AdminError`]: all of it is still there, or after an unknown outcome maybe. Then the next
    /// sweep takes it away, and the LU of an import with it.
    pub async fn end(self, db: &Db, keeps_lu: bool) -> Result<Left, AdminError> {
        let keeps_lu = keeps_lu || self.kind == TransferKind::Export;
        let left = undo(db, self.lu, self.lease.number(), keeps_lu).await?;
        // Else it ends by time.
        self.lease.revoke().await.ok();
        left.ok_or(AdminError::Swept(self.lu))
    }
}

/// Takes away what killed runs have left. Gives that, and those transfers that run, or were killed
/// less than [`RUN_LEASE`] ago, with who runs them.
///
/// # Errors
/// [`AdminError`]; what was taken away before is.
pub async fn sweep(db: &Db) -> Result<(Vec<Left>, Vec<(LuId, TransferKind, String)>), AdminError> {
    let (mut gone, mut running) = (Vec::new(), Vec::new());
    for (lu, row) in all::<TransferRow>(db).await?.1 {
        if let Some((_revision, runner)) = read::<RunnerRow>(db, &lu).await? {
            running.push((lu, row.kind, runner.by));
            continue;
        }
        gone.extend(undo(db, lu, row.run, row.kind == TransferKind::Export).await?);
    }
    Ok((gone, running))
}

/// Adds the note of a transfer, which must be the LU's only one.
fn note(plan: &mut Plan, lu: LuId, kind: TransferKind, lease: &Lease, by: &str) {
    plan.add(&lu, &TransferRow { kind, run: lease.number(), shown: None });
    plan.put_leased(&lu, &RunnerRow { by: by.to_owned() }, lease);
}

/// An error, once the lease that was taken for nothing is ended; else it ends by time.
async fn given_up(lease: &Lease, error: AdminError) -> AdminError {
    if !matches!(error, AdminError::Db(_)) {
        lease.revoke().await.ok();
    }
    error
}

/// The note of a run, if it is still there.
async fn own(db: &Db, lu: LuId, run: u64) -> Result<Option<(u64, TransferRow)>, AdminError> {
    Ok(read::<TransferRow>(db, &lu).await?.filter(|(_revision, row)| row.run == run))
}

/// An LU that is not shown, and can be.
async fn unshown(db: &Db, lu: LuId) -> Result<(u64, LuRow), AdminError> {
    let (revision, row) = live_lu(db, lu).await?;
    if let LuPhase::Failed(why) = row.phase {
        return Err(AdminError::LuFailed { lu, why });
    }
    for vtd in &row.vtds {
        if let Some((_revision, VtdRow { client, .. })) = read::<VtdRow>(db, vtd).await? {
            return Err(AdminError::LuShown { lu, vtd: *vtd, client });
        }
    }
    Ok((revision, row))
}

/// Takes away what a run has made, if that is still there.
async fn undo(db: &Db, lu: LuId, run: u64, keeps_lu: bool) -> Result<Option<Left>, AdminError> {
    contended(move || async move {
        let Some((revision, row)) = own(db, lu, run).await? else { return Ok(None) };
        let TransferRow { kind, shown, .. } = row;
        let mut plan = Plan::default();
        plan.delete::<TransferRow>(&lu, revision);
        plan.changes.push(Change::Delete { place: RunnerRow::place(&lu) });
        let mut is_deleted = false;
        if let Some((revision, mut row)) = read::<LuRow>(db, &lu).await? {
            row.vtds.retain(|vtd| shown.as_ref().is_none_or(|(_client, own)| vtd != own));
            // One that somebody else was shown meanwhile stays.
            if !keeps_lu && row.vtds.is_empty() {
                (row.phase, is_deleted) = (LuPhase::Deleting, true);
            }
            plan.replace(&lu, revision, &row);
        }
        if let Some((client, vtd)) = &shown {
            hide(db, &mut plan, client, *vtd).await?;
        }
        plan.commit(db).await?;
        Ok(Some(Left { lu, kind, shown, is_deleted }))
    })
    .await
}

/// Takes a VTD away, and its client unless that has others, as far as operators have not.
async fn hide(db: &Db, plan: &mut Plan, client: &ClientKey, vtd: VtdKey) -> Result<(), AdminError> {
    if let Some((revision, _row)) = read::<VtdRow>(db, &vtd).await? {
        plan.delete::<VtdRow>(&vtd, revision);
    }
    if let Some((revision, mut row)) = read::<ClientRow>(db, client).await? {
        row.vtds.retain(|other| *other != vtd);
        if row.vtds.is_empty() {
            plan.delete::<ClientRow>(client, revision);
        } else {
            plan.replace(client, revision, &row);
        }
    }
    Ok(())
}
