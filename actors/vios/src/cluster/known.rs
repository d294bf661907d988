//! What a node tells of its view of the cluster, whether the database is there or not.

use actix::{Handler, Message, MessageResponse};
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::cm::{Cm, CmDesk};
use super::row::{LuPhase, LuRow};

/// LUs that are told in one answer.
pub const LUS_MAX: usize = 1024;

impl Accepts<AskLus> for CmDesk {}

/// Asks which LUs there are, as far as the node knows.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "KnownLus")]
#[remote(name = "cm.AskLus")]
pub struct AskLus;

/// The LUs of a cluster, in order of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize)]
pub struct KnownLus {
    /// The revision of what the node knows; none before it knows anything.
    pub revision: Option<u64>,
    /// At most [`LUS_MAX`].
    pub lus: Vec<KnownLu>,
    /// There are more.
    pub is_cut: bool,
}

/// An LU as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct KnownLu {
    /// Which.
    pub lu: u64,
    /// Its pool.
    pub pool: String,
    /// Bytes.
    pub size: u64,
    /// How far it is: making, ready, failed or deleting.
    pub phase: String,
    /// Why it is not made.
    pub why: Option<String>,
}

impl Handler<AskLus> for Cm {
    type Result = KnownLus;

    fn handle(&mut self, AskLus: AskLus, _ctx: &mut Self::Context) -> KnownLus {
        let Some(view) = self.view() else { return KnownLus::default() };
        let mut lus = view.all::<LuRow>().map(|(lu, row)| {
            let (phase, why) = match row.phase {
                LuPhase::Making => ("making", None),
                LuPhase::Ready => ("ready", None),
                LuPhase::Failed(why) => ("failed", Some(why)),
                LuPhase::Deleting => ("deleting", None),
            };
            let (pool, phase) = (row.pool.to_string(), phase.to_owned());
            KnownLu { lu: lu.0, pool, size: row.size, phase, why }
        });
        let told = lus.by_ref().take(LUS_MAX).collect();
        KnownLus { revision: Some(view.revision), lus: told, is_cut: lus.next().is_some() }
    }
}
