//! What a repository tells and grants to those who are no VIOS: which LUs there are, and a number
//! for each new owner of one.

use std::sync::Arc;

use actix::{Handler, Message, MessageResponse, ResponseFuture};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::actor::Repository;
use super::backing::Backing;
use crate::redirect::name::LuId;

/// The name of a repository among the actors of the cluster.
pub const REPOSITORY_NAME: &str = "storage.repository";

/// What a repository takes from those who are no VIOS.
#[derive(Debug)]
pub struct Desk;

impl Accepts<NextOwner> for Desk {}

impl Accepts<ListLus> for Desk {}

/// Asks for a number for a new owner of an LU: above all that were given before. Who has it does
/// not own the LU yet: the first session that is opened with it ends that of the owner before.
#[derive(Debug, Clone, Copy, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "storage.NextOwner")]
pub struct NextOwner {
    /// Which LU.
    pub lu: u64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum NotGranted {
    /// There is no such LU. Fault: whoever asks.
    #[error("the repository has no such LU")]
    NoLu,
    /// The number cannot be stored; the storage's log says why.
    #[error("the repository can't store it; its log says why")]
    Storage,
}

impl Message for NextOwner {
    type Result = Result<Granted, NotGranted>;
}

impl<D: Backing> Handler<NextOwner> for Repository<D> {
    type Result = ResponseFuture<Result<Granted, NotGranted>>;

    fn handle(&mut self, NextOwner { lu }: NextOwner, _ctx: &mut Self::Context) -> Self::Result {
        let lu = LuId(lu);
        let Some(record) = self.store().record(lu).filter(|record| !record.is_deleted) else {
            return Box::pin(std::future::ready(Err(NotGranted::NoLu)));
        };
        let (volume, size) = (Arc::clone(self.volume()), record.size);
        let used = record.highest.owner;
        Box::pin(async move {
            match spawn_blocking(move || volume.next_owner(lu, used)).await {
                Ok(Ok(owner)) => Ok(Granted { owner: owner.0, size }),
                Ok(Err(error)) => {
                    tracing::error!(lu = lu.0, %error, "no number for an owner");
                    Err(NotGranted::Storage)
                }
                // The runtime is shutting down.
                Err(_cancelled) => Err(NotGranted::Storage),
            }
        })
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
        let mut lus = there.map(|(lu, record)| LuState {
            lu: lu.0,
            size: record.size,
            owner: record.highest.owner.0,
            session: record.highest.seq,
            is_open: store.open_epoch(lu).is_some(),
            requests: store.requests(lu),
        });
        Lus { lus: lus.by_ref().take(LISTED_MAX).collect(), is_cut: lus.next().is_some() }
    }
}
