//! The VIO API: what may be asked of a cluster, object by object.
//!
//! ```text
//!   VioRequest ──▶ Vio ──▶ VioResponse: objects, each with its version
//!                   │└───▶ VioException: a code, and words that name the mend
//!                   ▼
//!               the database
//! ```
//!
//! An object's version is the revision at which the database wrote it last. Whoever changes or
//! deletes one can say which version has been seen, and is refused if it has another by then: of
//! two callers that start from the same version one comes first, and the other one is told.
//!
//! All types have a form in serde's data model, so that the API can be spoken over a wire. Source:
//! US 8,726,274, the VIO API.

mod exception;
mod object;
mod request;

use vioduct_db::client::{Db, Freshness};

pub use self::exception::{VioCode, VioException};
pub use self::object::{Client, Cluster, Lu, Object, Pool, VioId, VioKind, VioObject, Vios, Vtd};
pub use self::request::{VioChange, VioNew, VioRequest, VioResponse};
use crate::cluster::admin::{self, AdminError, Deleted, scan};
use crate::cluster::row::{ExportRow, Storage};
use crate::cluster::view::View;
use crate::redirect::name::LuId;

/// What answers requests: one of these is as good as any other. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vio {
    db: Db,
}

impl Vio {
    /// By a client of the cluster's database. What may be changed is up to its certificate.
    #[must_use]
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    /// Does what is asked, within the deadline of the database's client.
    ///
    /// Cancel-safety: dropped, a change may be made or not.
    ///
    /// # Errors
    /// [`VioException`]: nothing was changed, unless its code is [`VioCode::MaybeDone`].
    pub async fn call(&self, request: VioRequest) -> Result<VioResponse, VioException> {
        match request {
            VioRequest::List { kinds } => self.list(&kinds).await,
            VioRequest::Read { id } => self.read(&id).await,
            VioRequest::Create { object } => self.create(object).await,
            VioRequest::Change { change, version } => {
                let changed = match change {
                    VioChange::LuSize { lu, size } => {
                        admin::resize_lu(&self.db, LuId(lu), size, version).await
                    }
                    VioChange::LuRelease { lu } => {
                        admin::release_lu(&self.db, LuId(lu), version).await
                    }
                };
                Ok(VioResponse::of::<Lu>(changed?))
            }
            VioRequest::Delete { id, version } => self.delete(id, version).await,
        }
    }

    async fn list(&self, kinds: &[VioKind]) -> Result<VioResponse, VioException> {
        let tables: Vec<_> = kinds.iter().flat_map(|kind| kind.tables()).copied().collect();
        let rows = scan(&self.db, &tables, Freshness::Linearizable).await?;
        Ok(VioResponse::all(&View::from(rows), kinds))
    }

    async fn read(&self, id: &VioId) -> Result<VioResponse, VioException> {
        let rows = self.db.get_many(id.places(), Freshness::Linearizable).await;
        let view = View::from(rows.map_err(AdminError::Db)?);
        if let Some(error) = view.unreadable().next() {
            return Err(AdminError::Row(error).into());
        }
        let all = VioResponse::all(&view, &[id.kind()]);
        if all.objects.is_empty() { Err(id.missing().into()) } else { Ok(all) }
    }

    async fn create(&self, new: VioNew) -> Result<VioResponse, VioException> {
        let db = &self.db;
        Ok(match new {
            VioNew::Cluster { name, vioses } => {
                VioResponse::of::<Cluster>(admin::create(db, &name, &vioses).await?)
            }
            VioNew::Vios { node } => VioResponse::of::<Vios>(admin::add(db, &node).await?),
            VioNew::Pool { name, storage } => {
                let storage = Storage::Node(storage);
                VioResponse::of::<Pool>(admin::create_pool(db, &name, storage).await?)
            }
            VioNew::OutsidePool { name, request_life_ms } => {
                let storage = Storage::Outside { request_life_ms };
                VioResponse::of::<Pool>(admin::create_pool(db, &name, storage).await?)
            }
            VioNew::Export { pool, name, only } => {
                let export = ExportRow { name, only };
                VioResponse::of::<Lu>(admin::create_export(db, &pool, export).await?)
            }
            VioNew::Lu { pool, size } => {
                VioResponse::of::<Lu>(admin::create_lu(db, &pool, size).await?)
            }
            VioNew::Client { client } => {
                VioResponse::of::<Client>(admin::add_client(db, &client).await?)
            }
            VioNew::Vtd { lu, client, socket } => {
                let made = admin::create_vtd(db, LuId(lu), &client, socket.as_deref()).await;
                VioResponse::of::<Vtd>(made?)
            }
        })
    }

    async fn delete(&self, id: VioId, version: Option<u64>) -> Result<VioResponse, VioException> {
        let db = &self.db;
        let revision = match id {
            VioId::Cluster => return Err(VioException::cluster_stays()),
            VioId::Lu(lu) => match admin::delete_lu(db, LuId(lu), version).await? {
                Deleted::Deleting(lu) => return Ok(VioResponse::of::<Lu>(lu)),
                Deleted::Gone(revision) => revision,
            },
            VioId::Vios(node) => admin::remove(db, &node, version).await?,
            VioId::Pool(name) => admin::delete_pool(db, &name, version).await?,
            VioId::Client(client) => admin::remove_client(db, &client, version).await?,
            VioId::Vtd(vtd) => admin::delete_vtd(db, vtd, version).await?,
        };
        Ok(VioResponse { revision, objects: Vec::new(), unreadable: Vec::new() })
    }
}

#[cfg(test)]
mod tests;
