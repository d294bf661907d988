//! Client partitions, and the VTDs by which they see LUs.

use vioduct_db::client::Db;

use super::{AdminError, Counter, Plan, VTDS_MAX, contended, live_lu, number, read};
use crate::cluster::row::{ClientKey, ClientRow, LuPhase, LuRow, TransferRow, VtdKey, VtdRow};
use crate::redirect::name::LuId;
use crate::roles::phyp::{FRONT_BYTES_MAX, Front};

/// Makes a client partition known. Gives its ClientID.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome it may be there, and the next call says so.
pub async fn add_client(db: &Db, client: &ClientKey) -> Result<u32, AdminError> {
    let exists = || AdminError::ClientExists(client.clone());
    if read::<ClientRow>(db, client).await?.is_some() {
        return Err(exists());
    }
    let number = number(db, Counter::Clients).await?;
    let mut plan = Plan::default();
    plan.add(client, &ClientRow { number, vtds: Vec::new() });
    match plan.commit(db).await {
        Err(AdminError::Changed) => Err(exists()),
        done => done.map(|_revision| number),
    }
}

/// Forgets a client partition that has no VTDs. Its ClientID is given to no other one.
///
/// # Errors
/// [`AdminError`]
pub async fn remove_client(db: &Db, client: &ClientKey) -> Result<(), AdminError> {
    let (revision, row) = known(db, client).await?;
    if let Some(vtd) = row.vtds.first() {
        return Err(AdminError::ClientInUse { client: client.clone(), vtd: *vtd });
    }
    let mut plan = Plan::default();
    plan.delete::<ClientRow>(client, revision);
    plan.commit(db).await.map(drop)
}

/// Shows an LU to a client: its hypervisor attaches it when it sees that. Gives the VTD's number.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome it may be there, and the next call says so.
pub async fn create_vtd(
    db: &Db,
    lu: LuId,
    client: &ClientKey,
    front: Option<&str>,
) -> Result<VtdKey, AdminError> {
    if let Some(text) = front.filter(|text| !is_front(text)) {
        return Err(AdminError::Front(text.chars().take(64).collect()));
    }
    // Else a number would be used up for nothing.
    Sight::of(db, lu, client).await?;
    let vtd = VtdKey(number(db, Counter::Vtds).await?);
    let row = &VtdRow { lu: lu.0, client: client.clone(), front: front.map(str::to_owned) };
    contended(move || async move {
        let mut sight = Sight::of(db, lu, client).await?;
        sight.lu.vtds.push(vtd);
        sight.client.vtds.push(vtd);
        let mut plan = sight.plan(lu, client);
        plan.expect::<TransferRow>(&lu, 0);
        plan.add(&vtd, row);
        plan.commit(db).await
    })
    .await?;
    Ok(vtd)
}

/// Takes an LU out of its client's sight: its hypervisor detaches it when it sees that.
///
/// # Errors
/// [`AdminError`]
pub async fn delete_vtd(db: &Db, vtd: VtdKey) -> Result<(), AdminError> {
    contended(move || async move {
        let found = read::<VtdRow>(db, &vtd).await?;
        let (revision, VtdRow { lu, client, .. }) = found.ok_or(AdminError::NoVtd(vtd))?;
        let lu = LuId(lu);
        let mut sight = Sight::read(db, lu, &client).await?;
        sight.lu.vtds.retain(|other| *other != vtd);
        sight.client.vtds.retain(|other| *other != vtd);
        let mut plan = sight.plan(lu, &client);
        plan.delete::<VtdRow>(&vtd, revision);
        plan.commit(db).await
    })
    .await
    .map(drop)
}

pub(super) fn is_front(text: &str) -> bool {
    text.len() <= FRONT_BYTES_MAX && text.parse::<Front>().is_ok()
}

async fn known(db: &Db, client: &ClientKey) -> Result<(u64, ClientRow), AdminError> {
    let found = read::<ClientRow>(db, client).await?;
    found.ok_or_else(|| AdminError::NoClient(client.clone()))
}

/// The two rows that a VTD joins, as they were read.
struct Sight {
    lu_revision: u64,
    lu: LuRow,
    client_revision: u64,
    client: ClientRow,
}

impl Sight {
    async fn read(db: &Db, lu: LuId, client: &ClientKey) -> Result<Self, AdminError> {
        let (lu_revision, lu) = live_lu(db, lu).await?;
        let (client_revision, client) = known(db, client).await?;
        Ok(Self { lu_revision, lu, client_revision, client })
    }

    /// Those of a client that may be shown the LU.
    async fn of(db: &Db, lu: LuId, client: &ClientKey) -> Result<Self, AdminError> {
        let sight = Self::read(db, lu, client).await?;
        let client = client.clone();
        if let Some(vtd) = sight.lu.vtds.iter().find(|vtd| sight.client.vtds.contains(vtd)) {
            return Err(AdminError::VtdExists { client, lu, vtd: *vtd });
        }
        if let Some((_revision, row)) = read::<TransferRow>(db, &lu).await? {
            return Err(AdminError::Transferring { lu, kind: row.kind, by: None });
        }
        if let LuPhase::Failed(why) = &sight.lu.phase {
            return Err(AdminError::LuFailed { lu, why: why.clone() });
        }
        for vtd in &sight.lu.vtds {
            let other = read::<VtdRow>(db, vtd).await?.map(|(_revision, row)| row.client);
            if let Some(other) = other.filter(|other| other.cec == client.cec) {
                return Err(AdminError::SameCec { client: other, lu, vtd: *vtd });
            }
        }
        if sight.lu.vtds.len() >= VTDS_MAX {
            return Err(AdminError::TooManyVtds(format!("LU {}", lu.0)));
        }
        if sight.client.vtds.len() >= VTDS_MAX {
            return Err(AdminError::TooManyVtds(format!("client {client}")));
        }
        Ok(sight)
    }

    /// Writes both as they are now, if nobody else has meanwhile.
    fn plan(&self, lu: LuId, client: &ClientKey) -> Plan {
        let mut plan = Plan::default();
        plan.replace(&lu, self.lu_revision, &self.lu);
        plan.replace(client, self.client_revision, &self.client);
        plan
    }
}
