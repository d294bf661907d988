//! LUs that are made, grown and deleted while a repository serves its others.
//!
//! Each LU has one thing done to it at a time: who comes meanwhile is told to come again.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::fut::wrap_future;
use actix::{ActorFutureExt, Handler, Message, MessageResponse, ResponseActFuture};
use tokio::task::spawn_blocking;

use super::actor::Repository;
use super::backing::Backing;
use super::users::Users;
use super::volume::{LuUser, Volume, VolumeError};
use crate::file::OpenError;
use crate::redirect::Epoch;
use crate::redirect::name::LuId;
use crate::redirect::store::Record;

/// Makes an LU, or makes it larger, if it is not there already with that size and birth. One that
/// is being made larger is busy: come again, until its new size is stored.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), NotMade>")]
pub(crate) struct MakeLu {
    pub(crate) lu: LuId,
    pub(crate) size: u64,
    pub(crate) birth: u64,
}

/// Why an LU was not made. It is not there, or as large as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    #[error("something is being done to it")]
    Busy,
    #[error("the repository has as many LUs as it can have, deleted ones counted")]
    Full,
    #[error("the volume has another LU of this number, of an earlier use; its bytes are kept")]
    Another,
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the repository is ending")]
    Ending,
}

/// Deletes an LU, unless the one of that number has another birth: that is another one, and kept.
/// What was begun is not undone by an error: ask again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), NotDeleted>")]
pub(crate) struct DeleteLu {
    pub(crate) lu: LuId,
    pub(crate) birth: u64,
}

/// Why an LU is not gone yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDeleted {
    #[error("something is being done to it, or its requests have not ended")]
    Busy,
    #[error("{} uses it", user.node)]
    InUse { user: LuUser },
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("the repository is ending")]
    Ending,
}

/// What the volume has of an LU that is to be made.
enum Made<D> {
    /// All that is wanted, from before.
    Before,
    /// All of it, from now on.
    New(Record, Arc<D>),
    /// Room for its new size.
    Room,
}

/// Asks for the bytes of each LU that is not deleted.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Sizes")]
pub(crate) struct AskSizes;

/// Bytes of LUs.
#[derive(Debug, MessageResponse)]
pub(crate) struct Sizes(pub(crate) BTreeMap<LuId, u64>);

impl<D: Backing> Handler<AskSizes> for Repository<D> {
    type Result = Sizes;

    fn handle(&mut self, AskSizes: AskSizes, _ctx: &mut Self::Context) -> Sizes {
        let records = self.store().records().filter(|(_lu, record)| !record.is_deleted);
        Sizes(records.filter_map(|(lu, _record)| Some((lu, self.store().size(lu)?))).collect())
    }
}

impl<D: Backing> Handler<MakeLu> for Repository<D> {
    type Result = ResponseActFuture<Self, Result<(), NotMade>>;

    fn handle(&mut self, asked: MakeLu, _ctx: &mut Self::Context) -> Self::Result {
        let MakeLu { lu, size, birth } = asked;
        let (record, size_now) = (self.store().record(lu), self.store().size(lu));
        let known = record.map(|record| record.is_deleted).zip(size_now);
        let refused = match known {
            Some((true, _size)) => Some(VolumeError::LuExists { lu }.into()),
            Some((false, has)) if has > size => {
                Some(VolumeError::OtherSize { lu, size: has, wanted: size }.into())
            }
            None if !self.store().has_room() => Some(NotMade::Full),
            Some(_) | None => None,
        };
        if let Some(refused) = refused {
            return Box::pin(wrap_future(std::future::ready(Err(refused))));
        }
        if !self.begin(lu) {
            return Box::pin(wrap_future(std::future::ready(Err(NotMade::Busy))));
        }
        let volume = Arc::clone(self.volume());
        let (opener, identity) = (self.opener(), self.store().identity());
        let make = move || {
            if let Some((_is_deleted, has)) = known {
                if volume.birth(lu)? != birth {
                    return Err(NotMade::Another);
                }
                if has < size {
                    volume.grow_data(lu, size)?;
                    return Ok(Made::Room);
                }
                return Ok(Made::Before);
            }
            // What an earlier try has left was never an LU of anybody.
            volume.discard(lu)?;
            let record = volume.create_lu(lu, size, identity, Epoch::NONE, birth)?;
            match opener.open(&volume, lu) {
                Ok(bytes) => Ok(Made::New(record, bytes)),
                Err(error) => {
                    volume.discard(lu)?;
                    Err(error.into())
                }
            }
        };
        let made = async move { spawn_blocking(make).await.unwrap_or(Err(NotMade::Ending)) };
        Box::pin(wrap_future(made).map(move |made, act: &mut Self, ctx| {
            act.finish(lu);
            match made? {
                Made::Before => Ok(()),
                Made::New(record, bytes) => {
                    act.made(lu, record, bytes, ctx);
                    tracing::info!(lu = lu.0, size, "LU made");
                    Ok(())
                }
                Made::Room => {
                    act.grow(lu, size, ctx);
                    Err(NotMade::Busy)
                }
            }
        }))
    }
}

impl<D: Backing> Handler<DeleteLu> for Repository<D> {
    type Result = ResponseActFuture<Self, Result<(), NotDeleted>>;

    fn handle(&mut self, asked: DeleteLu, _ctx: &mut Self::Context) -> Self::Result {
        let DeleteLu { lu, birth } = asked;
        if !self.begin(lu) {
            return Box::pin(wrap_future(std::future::ready(Err(NotDeleted::Busy))));
        }
        let record = self.store().record(lu).map(|record| record.is_deleted);
        let (volume, users) = (Arc::clone(self.volume()), self.users().clone());
        let is_free = !self.has_bytes(lu);
        let ready = async move {
            match record {
                Some(false) => may_go(volume, users, lu, birth).await,
                Some(true) if is_free => blocking(move || volume.free(lu)).await.map(|()| false),
                Some(true) => Err(NotDeleted::Busy),
                None => blocking(move || volume.discard(lu)).await.map(|()| false),
            }
        };
        Box::pin(wrap_future(ready).map(move |ready, act: &mut Self, ctx| {
            act.finish(lu);
            if ready? {
                act.delete(lu, ctx);
                return Err(NotDeleted::Busy);
            }
            Ok(())
        }))
    }
}

/// Whether the LU is the one that is meant; an error while whoever was given it last uses it.
async fn may_go(
    volume: Arc<Volume>,
    users: Users,
    lu: LuId,
    birth: u64,
) -> Result<bool, NotDeleted> {
    let look = move || Ok((volume.birth(lu)?, volume.last_owner(lu)?.user));
    match blocking(look).await? {
        (has, _user) if has != birth => Ok(false),
        (_birth, Some(user)) if users.uses(&user.node, lu).await => Err(NotDeleted::InUse { user }),
        (_birth, _user) => Ok(true),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, NotDeleted> {
    // Fails only when the runtime is shutting down.
    Ok(spawn_blocking(work).await.map_err(|_cancelled| NotDeleted::Ending)??)
}
