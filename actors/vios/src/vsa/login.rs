//! Which client stands behind an owner: it has logged in once its hypervisor has said who it is and
//! the cluster's database has its virtual adapter. Its requests do not wait for that.

use std::ops::Bound;
use std::time::Duration;

use actix::{Handler, Message, ResponseFuture};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use vioduct_certs::identity::NodeName;
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::actor::Vsa;
use crate::cke::AskLeaves;
use crate::dsa::numbered;
use crate::redirect::name::{LinkId, LuId};
use crate::redirect::relay::Leaves;

/// Virtual adapters that are told in one answer: a link carries some 64 KiB beside a body.
const TOLD_MAX: usize = 128;

/// The redirect actor answers on the same worker.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a VSA takes of operators.
#[derive(Debug)]
pub struct VsaDesk;

impl Accepts<AskAdapters> for VsaDesk {}

/// An owner that has come: whose disk it is, is to be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) link: LinkId,
    pub(crate) lu: LuId,
    /// The node of its hypervisor.
    pub(crate) node: NodeName,
}

/// A client that has logged in.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Client {
    /// CEC/NAME.
    pub name: String,
    /// Its ClientID.
    pub number: u32,
    /// The vioAdapterID of its virtual adapter on this VIOS.
    pub adapter: u32,
}

/// How far a login is: done, or why not. Answers whether the owner is there still.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct LoggedIn {
    pub(crate) came: Came,
    pub(crate) login: Result<Client, String>,
}

impl Handler<LoggedIn> for Vsa {
    type Result = bool;

    fn handle(&mut self, LoggedIn { came, login }: LoggedIn, _ctx: &mut Self::Context) -> bool {
        let owned = self.by_lu.get_mut(&(came.lu, came.node));
        let owned = owned.filter(|owned| owned.link == came.link);
        owned.map(|owned| owned.login = login).is_some()
    }
}

/// Has who comes told from now on, and who has come.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TellWhoComes(pub(crate) mpsc::Sender<Came>);

impl Handler<TellWhoComes> for Vsa {
    type Result = ();

    fn handle(&mut self, TellWhoComes(come): TellWhoComes, _ctx: &mut Self::Context) {
        for ((lu, node), owned) in &mut self.by_lu {
            owned.login = begin(&come, owned.link, *lu, node);
        }
        self.come = Some(come);
    }
}

/// Begins to log an owner's client in; gives why it has not logged in yet.
pub(super) fn begin(
    come: &mpsc::Sender<Came>,
    link: LinkId,
    lu: LuId,
    node: &NodeName,
) -> Result<Client, String> {
    let why = match come.try_send(Came { link, lu, node: node.clone() }) {
        Ok(()) => "it is asked who it is",
        Err(_full) => "too many others log in",
    };
    Err(why.to_owned())
}

/// Asks for the virtual adapters of a VIOS, and where requests leave that come by them: all, or
/// those behind the last one of the answer before.
#[derive(Debug, Clone, Default, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "Adapters")]
#[remote(name = "vsa.AskAdapters")]
pub struct AskAdapters {
    /// An LU, and the node of its client's hypervisor.
    pub behind: Option<(u64, NodeName)>,
}

/// Virtual adapters, one entry for each LU that is used by them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct Adapters {
    /// 128 at most, in order.
    pub adapters: Vec<AdapterInUse>,
    /// There are more.
    pub is_cut: bool,
}

/// A client's LU, as it uses it by this VIOS.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct AdapterInUse {
    /// The LU.
    pub lu: u64,
    /// The node of the client's hypervisor.
    pub phyp: NodeName,
    /// The client, or why it has not logged in.
    pub client: Result<Client, String>,
    /// The way of its requests to the storage; none without a session.
    pub leaves: Option<Exit>,
}

/// How requests leave a VIOS.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub enum Exit {
    /// By a physical adapter of its own.
    Adapter {
        /// Its name.
        name: String,
        /// What it leads to: a node, or an outside server's address.
        storage: String,
        /// The port there; none if nobody knows.
        port: Option<String>,
    },
    /// By the VIOS of this number.
    Vios(u32),
}

impl Handler<AskAdapters> for Vsa {
    type Result = ResponseFuture<Adapters>;

    fn handle(&mut self, ask: AskAdapters, _ctx: &mut Self::Context) -> Self::Result {
        let (redirect, ports) = (self.redirect.clone(), self.ports.clone());
        let from = match ask.behind {
            Some((lu, node)) => Bound::Excluded((LuId(lu), node)),
            None => Bound::Unbounded,
        };
        let seen = self.by_lu.range((from, Bound::Unbounded)).map(|((lu, node), owned)| {
            let (phyp, client) = (node.clone(), owned.login.clone());
            (owned.link, AdapterInUse { lu: lu.0, phyp, client, leaves: None })
        });
        let mut seen: Vec<_> = seen.take(TOLD_MAX + 1).collect();
        let is_cut = seen.len() > TOLD_MAX;
        seen.truncate(TOLD_MAX);
        Box::pin(async move {
            let owners = seen.iter().map(|(link, adapter)| (*link, LuId(adapter.lu))).collect();
            // Fails only when the VIOS ends.
            let ways = redirect.ask(AskLeaves(owners), ANSWER_WITHIN).await.unwrap_or_default();
            for (link, adapter) in &mut seen {
                adapter.leaves = ways.get(&(*link, LuId(adapter.lu))).and_then(|leaves| {
                    Some(match leaves {
                        Leaves::By(id) => {
                            let (_id, port) = numbered(&ports).find(|(other, _)| other == id)?;
                            let (name, storage) = (port.name.clone(), port.storage.clone());
                            Exit::Adapter { name, storage, port: port.port.clone() }
                        }
                        Leaves::Over(vios) => Exit::Vios(vios.0),
                    })
                });
            }
            Adapters {
                adapters: seen.into_iter().map(|(_link, adapter)| adapter).collect(),
                is_cut,
            }
        })
    }
}
