//! What operators ask of a VIOS's paths. Sent to the actor [`DSA_NAME`](super::DSA_NAME).

use std::time::Duration;

use actix::Message;
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use crate::cke::Surveyed;
use crate::redirect::name::{AdapterId, ViosId};
use crate::redirect::relay::PathState;

/// What a DSA takes of operators.
#[derive(Debug)]
pub struct Operated;

impl Accepts<Paths> for Operated {}

impl Accepts<FailPath> for Operated {}

impl Accepts<RestorePath> for Operated {}

/// Takes an adapter's path out of use: it is lost until it is restored, or the VIOS starts anew.
/// Its sessions move.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<(), NotChanged>")]
#[remote(name = "vios.FailPath")]
pub struct FailPath {
    /// The adapter's name.
    pub adapter: String,
}

/// Gives an adapter's path back. If it works, it is good after a while.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Result<(), NotChanged>")]
#[remote(name = "vios.RestorePath")]
pub struct RestorePath {
    /// The adapter's name.
    pub adapter: String,
}

/// Asks for a VIOS's paths.
#[derive(Debug, Clone, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Listing")]
#[remote(name = "vios.Paths")]
pub struct Paths;

/// Why a path is as before. Fault: the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize, thiserror::Error)]
pub enum NotChanged {
    /// The VIOS has no adapter of this name.
    #[error("the VIOS has no physical adapter of this name")]
    NoSuchAdapter,
}

/// How a path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum State {
    /// As it should.
    Good,
    /// Slow, shaky, or back since shortly.
    Degraded,
    /// Not at all.
    Lost,
}

impl From<PathState> for State {
    fn from(state: PathState) -> Self {
        match state {
            PathState::Good => Self::Good,
            PathState::Degraded => Self::Degraded,
            PathState::Lost => Self::Lost,
        }
    }
}

/// A VIOS's own paths, and what it knows of others'.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Listing {
    /// One for each of its adapters.
    pub paths: Vec<PathRow>,
    /// One for each other VIOS that it has heard of.
    pub others: Vec<OtherRow>,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct PathRow {
    /// The adapter's name.
    pub adapter: String,
    /// The storage that it leads to: a node, or an outside server's address.
    pub storage: String,
    /// How it does.
    pub state: State,
    /// Why, in words for people.
    pub reason: String,
    /// Since how long.
    pub for_how_long: Duration,
    /// What a heartbeat takes, smoothed; `None` without an answer.
    pub round_trip: Option<Duration>,
    /// Sessions that leave by it, also those of other VIOSes' clients.
    pub sessions: u64,
}

/// Another VIOS's way to the storage, as it has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct OtherRow {
    /// Its number.
    pub vios: u32,
    /// How the best of its paths does.
    pub state: State,
    /// It is in the same CEC.
    pub is_same_cec: bool,
    /// What a heartbeat takes from there.
    pub round_trip: Duration,
    /// Sessions that pass there.
    pub sessions: u32,
}

impl Listing {
    pub(super) fn of(rows: Vec<(AdapterId, PathRow)>, surveyed: Surveyed) -> Self {
        let path = |(id, row): (AdapterId, PathRow)| {
            let sessions = surveyed.sessions.get(&id).copied().unwrap_or(0);
            PathRow { sessions: u64::try_from(sessions).unwrap_or(u64::MAX), ..row }
        };
        let paths = rows.into_iter().map(path).collect();
        let other = |(ViosId(vios), path): &(ViosId, crate::redirect::relay::PeerPath)| OtherRow {
            vios: *vios,
            state: path.state.into(),
            is_same_cec: path.is_same_cec,
            round_trip: path.round_trip,
            sessions: path.load,
        };
        Self { paths, others: surveyed.others.iter().map(other).collect() }
    }
}
