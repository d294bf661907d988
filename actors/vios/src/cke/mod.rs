//! The cluster kernel extension of a VIOS: it carries requests to other VIOSes, and their answers
//! back.
//!
//! Two actors that live on one worker: [`Cke`] speaks with the CKEs of other VIOSes, and
//! [`Redirect`] holds the states of the paths and chooses the way of each session, also of those
//! that the VIOS's own clients open.

mod peers;
mod redirect;
mod turns;

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use serde::{Deserialize, Serialize};
use vioduct_runtime::{Accepts, LocalRef, RemoteMessage};

pub(crate) use self::redirect::VsaUp;
pub(crate) use self::redirect::{AdapterDown, AdapterUp, AskLeaves, PathReport, Survey, Surveyed};
pub use self::redirect::{PeerGone, PeerSeen, REDIRECT_NAME, Redirect};
use crate::carry::{CarriedCall, CarriedWord};
use crate::redirect::name::ViosId;
use crate::redirect::relay::{PathState, PeerPath};
use crate::roles::layout::Layouts;

/// The name of a VIOS's CKE among the actors of its node.
pub const CKE_NAME: &str = "vios.cke";

/// What a CKE takes of another one.
#[derive(Debug)]
pub struct Peer;

impl Accepts<CarriedCall> for Peer {}

impl Accepts<CarriedWord> for Peer {}

impl Accepts<PathNews> for Peer {}

/// How a VIOS reaches the storage: told to all others when it changes, and from time to time.
#[derive(Debug, Clone, Copy, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vios.Path")]
pub struct PathNews {
    /// Which CEC it is in.
    pub cec: u32,
    /// 0 good, 1 degraded, all else lost.
    pub state: u8,
    /// What a heartbeat takes from there, microseconds; 0 if that is not known.
    pub round_trip_us: u32,
    /// Sessions that pass there.
    pub load: u32,
}

impl Message for PathNews {
    type Result = ();
}

impl PathNews {
    fn path(self, own_cec: u32) -> PeerPath {
        let state = match self.state {
            0 => PathState::Good,
            1 => PathState::Degraded,
            _lost => PathState::Lost,
        };
        PeerPath {
            state,
            is_same_cec: self.cec == own_cec,
            round_trip: Duration::from_micros(self.round_trip_us.into()),
            load: self.load,
        }
    }
}

/// What another VIOS's CKE has said.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromPeer {
    vios: ViosId,
    what: Said,
}

#[derive(Debug)]
enum Said {
    Call(CarriedCall),
    Word(CarriedWord),
    Path(PathNews),
}

/// The actor that other VIOSes' CKEs speak to.
#[derive(Debug)]
pub struct Cke {
    redirect: LocalRef<Redirect>,
    vioses: Layouts,
}

impl Cke {
    /// Of a VIOS whose fellows are these.
    #[must_use]
    pub const fn new(redirect: LocalRef<Redirect>, vioses: Layouts) -> Self {
        Self { redirect, vioses }
    }

    /// What comes behind waits until the redirect actor has room.
    fn pass_on(&self, what: Said, ctx: &mut Context<Self>) {
        let Some(node) = vioduct_runtime::caller().map(|identity| identity.name) else { return };
        let Some(vios) = self.vioses.vios_on(&node) else {
            return tracing::warn!(peer = %node, "a node that is no VIOS is not heard");
        };
        let redirect = self.redirect.clone();
        ctx.wait(wrap_future(async move {
            // Fails only when the redirect actor has ended.
            drop(redirect.tell(FromPeer { vios, what }).await);
        }));
    }
}

impl Actor for Cke {
    type Context = Context<Self>;
}

impl Handler<CarriedCall> for Cke {
    type Result = ();

    fn handle(&mut self, call: CarriedCall, ctx: &mut Self::Context) {
        self.pass_on(Said::Call(call), ctx);
    }
}

impl Handler<CarriedWord> for Cke {
    type Result = ();

    fn handle(&mut self, word: CarriedWord, ctx: &mut Self::Context) {
        self.pass_on(Said::Word(word), ctx);
    }
}

impl Handler<PathNews> for Cke {
    type Result = ();

    fn handle(&mut self, news: PathNews, ctx: &mut Self::Context) {
        self.pass_on(Said::Path(news), ctx);
    }
}
