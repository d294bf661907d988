//! What the hypervisor is asked from outside, and the actor that answers: the disks it carries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResponse, ResponseFuture};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::DiskConfig;
use super::front::{Bound, Front};
use super::open::NoDisk;
use crate::cluster::row::{ClientKey, VtdKey};
use crate::lpar::LparDisk;
use crate::redirect::name::LuId;

/// The name of a hypervisor among the actors of its node.
pub const PHYP_NAME: &str = "phyp";
/// Most disks of a hypervisor.
pub const DISKS_MAX: usize = 512;
/// How long a disk's owner is waited for.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// What is said of a disk that does not begin yet.
const CLEARING: &str = "waits until nothing that an earlier owner left can land on the storage";
/// Longest name of a socket, bytes.
pub const FRONT_BYTES_MAX: usize = 256;

/// What a hypervisor takes from others.
#[derive(Debug)]
pub struct PhypDesk;

impl Accepts<ListDisks> for PhypDesk {}

impl Accepts<ClearDisk> for PhypDesk {}

impl Accepts<AskUse> for PhypDesk {}

impl Accepts<AskClient> for PhypDesk {}

/// Asks for the disks of a hypervisor.
#[derive(Debug, Clone, Copy, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "phyp.ListDisks")]
pub struct ListDisks;

/// How far a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum DiskPhase {
    /// The repository has not granted a number to its owner yet.
    Attaching,
    /// Requests are taken, and wait for a path.
    Waiting,
    /// Requests are carried out.
    Serving,
    /// Its owner has ended.
    Over,
}

/// A disk of a client partition.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct DiskState {
    /// Its LU.
    pub lu: u64,
    /// The VTD that shows it; none if somebody else has attached it.
    pub vtd: Option<u32>,
    /// Where the client finds it, as an NBD URI.
    pub front: String,
    /// How far it is.
    pub phase: DiskPhase,
    /// Why it is not further.
    pub error: Option<String>,
    /// Bytes; 0 until that is known.
    pub size: u64,
    /// Number of the VIOS that requests enter by, or that is tried.
    pub entry: Option<u32>,
    /// Number of the VIOS whose fabric is used, once that is known.
    pub exit: Option<u32>,
    /// Sessions that were served.
    pub sessions: u64,
    /// Sessions that were lost.
    pub paths_lost: u64,
    /// The longest that requests waited for a session, microseconds.
    pub longest_wait_us: u64,
    /// Requests that are not answered.
    pub requests: u64,
    /// Writes that were left without an answer and may still land on a storage that cannot fence.
    pub unresolved: u64,
}

/// The disks of a hypervisor, in order of their LUs.
#[derive(Debug, Clone, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize)]
pub struct Disks {
    /// The CEC of the hypervisor.
    pub cec: u32,
    /// All of them.
    pub disks: Vec<DiskState>,
}

impl Message for ListDisks {
    type Result = Disks;
}

/// Why a disk is not carried. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachRefused {
    /// Nothing can listen there.
    #[error("can't listen there: {0}")]
    Listen(String),
    /// The LU is carried already.
    #[error("the LU is attached already")]
    Attached,
    /// There are too many.
    #[error("the hypervisor carries {DISKS_MAX} disks already")]
    Full,
    /// Too many others are being attached. Try again.
    #[error("too many disks are being attached; try again")]
    Busy,
}

/// Asks whether this hypervisor uses an LU, or is about to.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "bool")]
#[remote(name = "phyp.AskUse")]
pub struct AskUse {
    /// Which LU.
    pub lu: u64,
}

impl Handler<AskUse> for Phyp {
    type Result = bool;

    fn handle(&mut self, AskUse { lu }: AskUse, _ctx: &mut Self::Context) -> bool {
        let slot = self.slots.get(&LuId(lu));
        slot.is_some_and(|slot| matches!(slot.stage, Stage::Attaching(_) | Stage::Open(_)))
    }
}

/// Asks for which client partition this hypervisor carries an LU: CEC/NAME. None if it carries
/// none, or for no client that the cluster knows.
#[derive(Debug, Clone, Copy, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Option<String>")]
#[remote(name = "phyp.AskClient")]
pub struct AskClient {
    /// Which LU.
    pub lu: u64,
}

impl Handler<AskClient> for Phyp {
    type Result = Option<String>;

    fn handle(&mut self, AskClient { lu }: AskClient, _ctx: &mut Self::Context) -> Self::Result {
        let slot = self.slots.get(&LuId(lu))?;
        slot.client.as_ref().map(ClientKey::to_string)
    }
}

/// Nothing that was left without an answer can land on a disk's storage any more: an operator says
/// so, or what has fenced the storage. For a disk on a storage outside of the cluster whose
/// requests have no known life.
#[derive(Debug, Clone, Copy, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "phyp.ClearDisk")]
pub struct ClearDisk {
    /// Which LU.
    pub lu: u64,
}

/// Why nothing was cleared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Wire, Serialize, Deserialize)]
pub enum NotCleared {
    /// The hypervisor carries no such disk, or its owner has not begun.
    #[error("no such disk is open on this hypervisor")]
    NotOpen,
    /// Its owner gave no answer.
    #[error("the disk's owner: {0}")]
    Owner(String),
}

impl Message for ClearDisk {
    type Result = Result<(), NotCleared>;
}

impl Handler<ClearDisk> for Phyp {
    type Result = ResponseFuture<Result<(), NotCleared>>;

    fn handle(&mut self, ClearDisk { lu }: ClearDisk, _ctx: &mut Self::Context) -> Self::Result {
        let disk = match self.slots.get(&LuId(lu)).map(|slot| &slot.stage) {
            Some(Stage::Open(disk)) => Some(Arc::clone(disk)),
            Some(Stage::Refused(_) | Stage::Attaching(_) | Stage::Over) | None => None,
        };
        Box::pin(async move {
            let disk = disk.ok_or(NotCleared::NotOpen)?;
            let cleared = disk.clear(LOOK_WITHIN).await;
            cleared.map_err(|error| NotCleared::Owner(error.to_string()))
        })
    }
}

/// A disk that is to be carried.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) config: DiskConfig,
    pub(super) bound: Bound,
    /// Ends when the disk is to be detached.
    pub(super) detach: oneshot::Receiver<()>,
}

/// What has become of a disk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Note {
    pub(super) lu: LuId,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It could not be begun; its VTD's attachment is tried again.
    Refused(String),
    Attaching(Option<String>),
    Open(Arc<LparDisk>),
    Over,
}

#[derive(Debug)]
struct Slot {
    front: Front,
    stage: Stage,
    /// The VTD that shows it; none if somebody else has attached it.
    vtd: Option<VtdKey>,
    /// Whom that shows it to.
    client: Option<ClientKey>,
    /// Gone once the disk is to be detached: then the slot goes when it is over.
    detach: Option<oneshot::Sender<()>>,
}

/// The actor of a hypervisor. It sends to the owners of its disks, which run on its node.
#[derive(Debug)]
pub struct Phyp {
    cec: u32,
    slots: BTreeMap<LuId, Slot>,
    orders: mpsc::Sender<Order>,
    /// Told of whenever a slot has changed.
    changes: watch::Sender<()>,
}

impl Phyp {
    pub(super) const fn new(
        cec: u32,
        orders: mpsc::Sender<Order>,
        changes: watch::Sender<()>,
    ) -> Self {
        Self { cec, slots: BTreeMap::new(), orders, changes }
    }

    fn attach(&mut self, config: DiskConfig) -> Result<(), AttachRefused> {
        let (lu, front) = (config.lu, config.front.clone());
        let (vtd, client) = config.vtd.clone().unzip();
        match self.slots.get(&lu) {
            Some(Slot { stage: Stage::Over | Stage::Refused(_), .. }) => {}
            // The VTD's disk is being served.
            Some(slot) if vtd.is_some() && slot.vtd == vtd && slot.detach.is_some() => {
                return Ok(());
            }
            Some(_carried) => return Err(AttachRefused::Attached),
            None if self.slots.len() >= DISKS_MAX => return Err(AttachRefused::Full),
            None => {}
        }
        let is_taken = |(other, slot): (&LuId, &Slot)| {
            *other != lu && slot.front == front && slot.detach.is_some()
        };
        let ordered = match self.slots.iter().any(is_taken) {
            true => Err(AttachRefused::Listen("another disk is found there".into())),
            false => self.order(config),
        };
        let (stage, detach, attached) = match ordered {
            Ok(detach) => (Stage::Attaching(None), Some(detach), Ok(())),
            Err(error) if vtd.is_some() => (Stage::Refused(error.to_string()), None, Err(error)),
            Err(error) => return Err(error),
        };
        self.slots.insert(lu, Slot { front, stage, vtd, client, detach });
        self.changes.send_replace(());
        attached
    }

    /// Has a disk carried until what is given is dropped.
    fn order(&self, config: DiskConfig) -> Result<oneshot::Sender<()>, AttachRefused> {
        let room = self.orders.try_reserve().map_err(|_full| AttachRefused::Busy)?;
        let bound =
            config.front.bind().map_err(|error| AttachRefused::Listen(error.to_string()))?;
        let (detach, detached) = oneshot::channel();
        room.send(Order { config, bound, detach: detached });
        Ok(detach)
    }
}

impl Actor for Phyp {
    type Context = Context<Self>;
}

/// Carries one more disk. The answer comes once its socket listens; clients wait there until the
/// disk is served.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), AttachRefused>")]
pub(super) struct Attach(pub(super) DiskConfig);

impl Handler<Attach> for Phyp {
    type Result = Result<(), AttachRefused>;

    fn handle(&mut self, Attach(config): Attach, _ctx: &mut Self::Context) -> Self::Result {
        self.attach(config)
    }
}

/// Asks for the disk of a VTD, once it is open.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Option<Arc<LparDisk>>")]
pub(super) struct OpenDisk {
    pub(super) lu: LuId,
    pub(super) vtd: VtdKey,
}

impl Handler<OpenDisk> for Phyp {
    type Result = Option<Arc<LparDisk>>;

    fn handle(&mut self, OpenDisk { lu, vtd }: OpenDisk, _ctx: &mut Self::Context) -> Self::Result {
        let slot = self.slots.get(&lu).filter(|slot| slot.vtd == Some(vtd))?;
        match &slot.stage {
            Stage::Open(disk) => Some(Arc::clone(disk)),
            Stage::Refused(_) | Stage::Attaching(_) | Stage::Over => None,
        }
    }
}

/// Asks for the open disk of an LU, whoever has attached it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Arc<LparDisk>, NoDisk>")]
pub(super) struct FindDisk(pub(super) LuId);

impl Handler<FindDisk> for Phyp {
    type Result = Result<Arc<LparDisk>, NoDisk>;

    fn handle(&mut self, FindDisk(lu): FindDisk, _ctx: &mut Self::Context) -> Self::Result {
        let slot = self.slots.get(&lu).ok_or(NoDisk::NotCarried { lu, cec: self.cec })?;
        match &slot.stage {
            Stage::Open(disk) if slot.detach.is_some() => Ok(Arc::clone(disk)),
            // It is being detached.
            Stage::Open(_) | Stage::Over => Err(NoDisk::Over { lu }),
            Stage::Attaching(None) => Err(NoDisk::Attaching { lu }),
            Stage::Attaching(Some(reason)) | Stage::Refused(reason) => {
                Err(NoDisk::NotAttached { lu, reason: reason.clone() })
            }
        }
    }
}

/// Ends the disk of a VTD in order, and forgets it. Answers whether that is done.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "bool")]
pub(super) struct Detach {
    pub(super) lu: LuId,
    pub(super) vtd: VtdKey,
}

impl Handler<Detach> for Phyp {
    type Result = bool;

    fn handle(&mut self, Detach { lu, vtd }: Detach, _ctx: &mut Self::Context) -> bool {
        let slot = self.slots.get_mut(&lu).filter(|slot| slot.vtd == Some(vtd));
        let Some(slot) = slot else { return true };
        drop(slot.detach.take());
        self.changes.send_replace(());
        if matches!(slot.stage, Stage::Over | Stage::Refused(_)) {
            self.slots.remove(&lu);
            return true;
        }
        false
    }
}

impl Handler<Note> for Phyp {
    type Result = ();

    fn handle(&mut self, Note { lu, stage }: Note, _ctx: &mut Self::Context) {
        let Some(slot) = self.slots.get_mut(&lu) else { return };
        if matches!(stage, Stage::Over) && slot.detach.is_none() {
            self.slots.remove(&lu);
        } else {
            slot.stage = stage;
        }
        self.changes.send_replace(());
    }
}

impl Handler<ListDisks> for Phyp {
    type Result = ResponseFuture<Disks>;

    fn handle(&mut self, ListDisks: ListDisks, _ctx: &mut Self::Context) -> Self::Result {
        let states = self.slots.iter().map(|(lu, slot)| state(*lu, slot)).collect::<Vec<_>>();
        let cec = self.cec;
        Box::pin(async move { Disks { cec, disks: join_all(states).await } })
    }
}

/// How a disk is, as its owner tells.
fn state(lu: LuId, slot: &Slot) -> impl Future<Output = DiskState> + use<> {
    let mut state = DiskState {
        lu: lu.0,
        vtd: slot.vtd.map(|vtd| vtd.0),
        front: slot.front.to_string(),
        phase: DiskPhase::Over,
        error: None,
        size: 0,
        entry: None,
        exit: None,
        sessions: 0,
        paths_lost: 0,
        longest_wait_us: 0,
        requests: 0,
        unresolved: 0,
    };
    let mut open = None;
    match &slot.stage {
        Stage::Refused(error) => {
            (state.phase, state.error) = (DiskPhase::Attaching, Some(error.clone()));
        }
        Stage::Attaching(error) => {
            (state.phase, state.error) = (DiskPhase::Attaching, error.clone());
        }
        Stage::Open(disk) => open = Some(Arc::clone(disk)),
        Stage::Over => {}
    }
    async move {
        let Some(disk) = open else { return state };
        match disk.figures(LOOK_WITHIN).await {
            Ok(figures) => DiskState {
                phase: if figures.is_serving { DiskPhase::Serving } else { DiskPhase::Waiting },
                size: figures.size,
                entry: figures.entry.map(|vios| vios.0),
                exit: figures.exit.map(|vios| vios.0),
                sessions: figures.sessions,
                paths_lost: figures.paths_lost,
                longest_wait_us: figures.longest_wait.as_micros().try_into().unwrap_or(u64::MAX),
                requests: figures.requests as u64,
                unresolved: figures.unresolved as u64,
                error: figures.is_clearing.then(|| CLEARING.to_owned()),
                ..state
            },
            Err(error) => DiskState { error: Some(error.to_string()), ..state },
        }
    }
}
