//! What a repository tells and grants to those who are no VIOS: which LUs there are, and a number
//! for each new owner of one.

use std::sync::Arc;

use actix::{Handler, Message, MessageResponse, ResponseFuture};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::actor::Repository;
use super::backing::Backing;
use super::users::Users;
use super::volume::{LuUser, Volume, VolumeError};
use crate::redirect::name::{LuId, OwnerId};
use crate::redirect::store::{Record, Store};

/// The name of a repository among the actors of the cluster.
pub const REPOSITORY_NAME: &str = "storage.repository";

/// Longest name of a client, bytes.
const CLIENT_BYTES_MAX: usize = 256;
/// How often a number is tried to be drawn while others draw.
const TRIES: usize = 8;

/// What a repository takes from those who are no VIOS.
#[derive(Debug)]
pub struct Desk;

impl Accepts<NextOwner> for Desk {}

impl Accepts<ListLus> for Desk {}

/// Asks for a number for a new owner of an LU: above all that were given before. Who has it does
/// not own the LU yet: the first session that is opened with it ends that of the owner before.
///
/// It is refused as long as another node carries the LU: that is asked, so what counts is who uses
/// the LU now. A node that does not answer carries it until the cluster counts it as down.
#[derive(Debug, Clone, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "storage.NextOwner")]
pub struct NextOwner {
    /// Which LU.
    pub lu: u64,
    /// For which client partition, 256 bytes at most; empty if that is not known.
    pub client: String,
}

/// The number of a new owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Granted {
    /// The number.
    pub owner: u64,
    /// Bytes of the LU.
    pub size: u64,
}

/// Why no number is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum NotGranted {
    /// There is no such LU. Fault: whoever asks.
    #[error("the repository has no such LU")]
    NoLu,
    /// Another node carries it. Fault: whoever shows it to two clients.
    #[error(
        "it is in use {}on {node}; delete the VTD that shows it there, or stop that node",
        client.as_ref().map(|client| format!("by client {client} ")).unwrap_or_default()
    )]
    InUse {
        /// The node that carries it.
        node: String,
        /// The client partition that uses it.
        client: Option<String>,
    },
    /// The client's name is too long. Fault: whoever asks.
    #[error("a client's name has {CLIENT_BYTES_MAX} bytes at most")]
    Name,
    /// Too many ask at once. Try again.
    #[error("too many ask for it at once; try again")]
    Asking,
    /// The number cannot be stored; the storage's log says why.
    #[error("the repository can't store it; its log says why")]
    Storage,
}

impl Message for NextOwner {
    type Result = Result<Granted, NotGranted>;
}

impl<D: Backing> Handler<NextOwner> for Repository<D> {
    type Result = ResponseFuture<Result<Granted, NotGranted>>;

    fn handle(&mut self, asked: NextOwner, _ctx: &mut Self::Context) -> Self::Result {
        let (lu, peer) = (LuId(asked.lu), vioduct_runtime::caller());
        let Some(record) = self.store().record(lu).filter(|record| !record.is_deleted) else {
            return Box::pin(std::future::ready(Err(NotGranted::NoLu)));
        };
        if asked.client.len() > CLIENT_BYTES_MAX {
            return Box::pin(std::future::ready(Err(NotGranted::Name)));
        }
        let client = Some(asked.client).filter(|client| !client.is_empty());
        let node = peer.map(|identity| identity.name);
        let drawing = Drawing {
            lu,
            used: record.highest.owner,
            size: self.store().size(lu).unwrap_or(record.size),
            volume: Arc::clone(self.volume()),
            users: self.users().clone(),
        };
        Box::pin(drawing.draw(node, client))
    }
}

/// Draws a number for an owner, unless another node uses the LU.
struct Drawing {
    lu: LuId,
    used: OwnerId,
    size: u64,
    volume: Arc<Volume>,
    users: Users,
}

impl Drawing {
    async fn draw(
        self,
        node: Option<NodeName>,
        client: Option<String>,
    ) -> Result<Granted, NotGranted> {
        // Who is not another node is this one.
        let node = node.or_else(|| self.users.own_name()).ok_or(NotGranted::Storage)?;
        // Another one was faster: it is asked whether it uses the LU.
        for _try in 0..TRIES {
            let (volume, lu) = (Arc::clone(&self.volume), self.lu);
            let last = self.stored(move || volume.last_owner(lu)).await?;
            if let Some(user) = last.user.as_ref().filter(|user| user.node != node)
                && self.users.uses(&user.node, lu).await
            {
                let (node, client) = (user.node.to_string(), user.client.clone());
                return Err(NotGranted::InUse { node, client });
            }
            let (volume, used) = (Arc::clone(&self.volume), self.used);
            let user = LuUser { node: node.clone(), client: client.clone() };
            let drawn = self.stored(move || volume.next_owner(lu, used, &last, user)).await?;
            if let Some(owner) = drawn {
                return Ok(Granted { owner: owner.0, size: self.size });
            }
        }
        Err(NotGranted::Asking)
    }

    async fn stored<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, NotGranted> {
        match spawn_blocking(work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                tracing::error!(lu = self.lu.0, %error, "no number for an owner");
                Err(NotGranted::Storage)
            }
            // The runtime is shutting down.
            Err(_cancelled) => Err(NotGranted::Storage),
        }
    }
}

/// Asks which LUs there are.
#[derive(Debug, Clone, Copy, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "storage.ListLus")]
pub struct ListLus;

/// An LU as its repository has it.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct LuState {
    /// Which.
    pub lu: u64,
    /// Bytes.
    pub size: u64,
    /// The highest owner that has opened a session; 0 for none.
    pub owner: u64,
    /// That owner's last session.
    pub session: u64,
    /// That session is open.
    pub is_open: bool,
    /// Its requests that are not answered.
    pub requests: u64,
}

/// The LUs of a repository, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize)]
pub struct Lus {
    /// At most [`LISTED_MAX`].
    pub lus: Vec<LuState>,
    /// There are more.
    pub is_cut: bool,
}

/// LUs that are told in one answer.
pub const LISTED_MAX: usize = 1024;

impl Message for ListLus {
    type Result = Lus;
}

impl<D: Backing> Handler<ListLus> for Repository<D> {
    type Result = Lus;

    fn handle(&mut self, ListLus: ListLus, _ctx: &mut Self::Context) -> Lus {
        let store = self.store();
        let there = store.records().filter(|(_lu, record)| !record.is_deleted);
        let mut lus = there.map(|(lu, record)| state(store, lu, record));
        Lus { lus: lus.by_ref().take(LISTED_MAX).collect(), is_cut: lus.next().is_some() }
    }
}

fn state(store: &Store, lu: LuId, record: Record) -> LuState {
    LuState {
        lu: lu.0,
        size: store.size(lu).unwrap_or(record.size),
        owner: record.highest.owner.0,
        session: record.highest.seq,
        is_open: store.open_epoch(lu).is_some(),
        requests: store.requests(lu),
    }
}

impl Accepts<AskLu> for Desk {}

/// Asks how an LU is.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Option<LuState>")]
#[remote(name = "storage.AskLu")]
pub struct AskLu {
    /// Which.
    pub lu: u64,
}

impl<D: Backing> Handler<AskLu> for Repository<D> {
    type Result = Option<LuState>;

    fn handle(&mut self, AskLu { lu }: AskLu, _ctx: &mut Self::Context) -> Option<LuState> {
        let (store, lu) = (self.store(), LuId(lu));
        let record = store.record(lu).filter(|record| !record.is_deleted)?;
        Some(state(store, lu, record))
    }
}
