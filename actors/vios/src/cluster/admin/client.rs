//! Client partitions, and the VTDs by which they see LUs.

use vioduct_db::client::Db;

use super::{
    AdminError, Counter, Plan, VTDS_MAX, Written, contended, has_version, live_lu, number, read,
};
use crate::cluster::row::{ClientKey, ClientRow, LuPhase, LuRow, TransferRow, VtdKey, VtdRow};
use crate::redirect::name::LuId;
use crate::roles::phyp::{FRONT_BYTES_MAX, Front};

/// Makes a client partition known.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome it may be there, and the next call says so.
pub(crate) async fn add_client(
    db: &Db,
    client: &ClientKey,
) -> Result<Written<ClientRow>, AdminError> {
    let exists = || AdminError::ClientExists(client.clone());
    if read::<ClientRow>(db, client).await?.is_some() {
        return Err(exists());
    }
    let row = ClientRow { number: number(db, Counter::Clients).await?, vtds: Vec::new() };
    let mut plan = Plan::default();
    plan.add(client, &row);
    match plan.commit(db).await {
        Err(AdminError::Changed) => Err(exists()),
        done => Ok((client.clone(), done?, row)),
    }
}

/// Forgets a client partition that has no VTDs. Its ClientID is given to no other one. Gives the
/// revision at which it is forgotten.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn remove_client(
    db: &Db,
    client: &ClientKey,
    version: Option<u64>,
) -> Result<u64, AdminError> {
    let (revision, row) = known(db, client).await?;
    has_version(revision, version)?;
    if let Some(vtd) = row.vtds.first() {
        return Err(AdminError::ClientInUse { client: client.clone(), vtd: *vtd });
    }
    let mut plan = Plan::default();
    plan.delete::<ClientRow>(client, revision);
    plan.commit(db).await
}

/// Shows an LU to a client: its hypervisor attaches it when it sees that.
///
/// # Errors
/// [`AdminError`]; after an unknown outcome it may be there, and the next call says so.
pub(crate) async fn create_vtd(
    db: &Db,
    lu: LuId,
    client: &ClientKey,
    front: Option<&str>,
) -> Result<Written<VtdRow>, AdminError> {
    if let Some(text) = front.filter(|text| !is_front(text)) {
        return Err(AdminError::Front(text.chars().take(64).collect()));
    }
    // Else a number would be used up for nothing.
    Sight::of(db, lu, client).await?;
    let vtd = VtdKey(number(db, Counter::Vtds).await?);
    let row = VtdRow { lu: lu.0, client: client.clone(), front: front.map(str::to_owned) };
    let shown = &row;
    let revision = contended(move || async move {
        let mut sight = Sight::of(db, lu, client).await?;
        sight.lu.vtds.push(vtd);
        sight.client.vtds.push(vtd);
        let mut plan = sight.plan(lu, client);
        plan.expect::<TransferRow>(&lu, 0);
        plan.add(&vtd, shown);
        plan.commit(db).await
    })
    .await?;
    Ok((vtd, revision, row))
}

/// Takes an LU out of its client's sight: its hypervisor detaches it when it sees that. Gives the
/// revision at which it is out.
///
/// # Errors
/// [`AdminError`]
pub(crate) async fn delete_vtd(
    db: &Db,
    vtd: VtdKey,
    version: Option<u64>,
) -> Result<u64, AdminError> {
    contended(move || async move {
        let found = read::<VtdRow>(db, &vtd).await?;
        let (revision, VtdRow { lu, client, .. }) = found.ok_or(AdminError::NoVtd(vtd))?;
        has_version(revision, version)?;
        let lu = LuId(lu);
        let mut sight = Sight::read(db, lu, &client).await?;
        sight.lu.vtds.retain(|other| *other != vtd);
        sight.client.vtds.retain(|other| *other != vtd);
        let mut plan = sight.plan(lu, &client);
        plan.delete::<VtdRow>(&vtd, revision);
        plan.commit(db).await
    })
    .await
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
            match other {
                Some(client) if sight.lu.export.is_some() => {
                    return Err(AdminError::OneClient { lu, vtd: *vtd, client });
                }
                Some(other) if other.cec == client.cec => {
                    return Err(AdminError::SameCec { client: other, lu, vtd: *vtd });
                }
                Some(_) | None => {}
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
