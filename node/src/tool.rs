//! A tool's end: asks the actors of nodes from outside the cluster, with a certificate of its own.
//!
//! A [`Tool`] is a runtime node without actors. It takes in no links, for its certificate is no
//! node's. Everything runs on the local set of the task that uses it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::net::lookup_host;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::{Identity, Kind, NodeName};
use vioduct_certs::inventory::NodeAddr;
use vioduct_runtime::inspect::{self, Inspection, Inspector};
use vioduct_runtime::{
    Accepts, AskError, LinkListener, Node, NodeError, NotDelivered, RemoteMessage,
};
use vioduct_transport::{DialError, EndpointError, Link, LinkEvent};

use crate::status::NodeStatus;
use crate::system::{STATUS, Status, StatusActor, StatusText, name};

mod found;

pub use found::Found;

/// How long the closing of links is waited for: a node that is down does not answer it, and finds
/// out by itself that the tool is gone.
const CLOSE_MAX: Duration = Duration::from_millis(250);

/// Why a tool has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The certificate is a node's: another process may be that node. Fault: the operator.
    #[error("{0} is a node; make a certificate for a tool with `vioduct ca issue --tool`")]
    NotATool(Identity),
    /// The node's address is not found. Fault: the operator, or the network.
    #[error("address {addr} not found")]
    Address {
        /// The address.
        addr: NodeAddr,
        /// What the system said; none when it found nothing.
        #[source]
        source: Option<io::Error>,
    },
    /// The tool's own node did not start.
    #[error(transparent)]
    Start(#[from] NodeError),
    /// No link can be kept.
    #[error(transparent)]
    Link(#[from] EndpointError),
    /// The two sides do not accept each other. Fault: the operator. Asked: no.
    #[error("{0}")]
    TurnedDown(DialError),
    /// Nothing came in time. Fault: the node, or the network.
    #[error("no answer from {node} within {} ms", within.as_millis())]
    NoAnswer {
        /// The node.
        node: NodeName,
        /// How long it was waited.
        within: Duration,
    },
    /// The node, or the link to it.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The answer is no status. Fault: the node, or its version.
    #[error("the status of {node} can't be read")]
    BadStatus {
        /// The node.
        node: NodeName,
        /// What the reader said.
        #[source]
        source: serde_json::Error,
    },
}

/// Why the latest dial to each node failed.
#[derive(Debug, Default)]
struct Dials {
    failed: Mutex<HashMap<NodeName, watch::Sender<Option<DialError>>>>,
}

impl Dials {
    fn failed(&self) -> MutexGuard<'_, HashMap<NodeName, watch::Sender<Option<DialError>>>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to(&self, node: &NodeName) -> watch::Receiver<Option<DialError>> {
        self.failed().entry(node.clone()).or_default().subscribe()
    }

    fn note(&self, link: &Link, error: Option<DialError>) {
        if let Some(failed) = self.failed().get(link.peer()) {
            failed.send_replace(error);
        }
    }
}

impl LinkListener for Dials {
    fn event(&self, link: &Link, event: &LinkEvent) {
        match event {
            LinkEvent::DialFailed { error } => self.note(link, Some(error.clone())),
            LinkEvent::Up { .. } => self.note(link, None),
            LinkEvent::Down { .. }
            | LinkEvent::Undelivered { .. }
            | LinkEvent::Unreachable
            | LinkEvent::PeerRestarted => {}
        }
    }

    fn refused(&self, _addr: SocketAddr, _error: &DialError) {}
}

/// Whether the next dial would fail too.
const fn is_lasting(error: &DialError) -> bool {
    match error {
        DialError::Refused { .. }
        | DialError::RefusedByPeer { .. }
        | DialError::Rejected { .. }
        | DialError::Wire { .. }
        | DialError::Alpn { .. }
        | DialError::Tls(_) => true,
        DialError::TimedOut { .. } | DialError::Superseded | DialError::Broken { .. } => false,
    }
}

/// A tool's end of its links to any number of nodes, of both families of addresses.
#[derive(Debug)]
pub struct Tool {
    credentials: Arc<Credentials>,
    dials: Arc<Dials>,
    /// Started when the first node of its family is dialled: a host may lack one.
    v4: OnceCell<Node>,
    v6: OnceCell<Node>,
}

impl Tool {
    /// A tool that presents these credentials.
    ///
    /// # Errors
    /// [`ToolError::NotATool`]
    pub fn new(credentials: Credentials) -> Result<Self, ToolError> {
        if credentials.identity().kind != Kind::Tool {
            return Err(ToolError::NotATool(credentials.identity().clone()));
        }
        let (credentials, dials) = (Arc::new(credentials), Arc::default());
        Ok(Self { credentials, dials, v4: OnceCell::new(), v6: OnceCell::new() })
    }

    /// Begins to dial a node, and keeps a link to it.
    ///
    /// # Errors
    /// The address is not found, there is no socket of its family, or there are too many nodes.
    ///
    /// # Panics
    /// Outside a local set.
    pub async fn connect(&self, name: NodeName, addr: &NodeAddr) -> Result<Target, ToolError> {
        let addr = resolve(addr).await?;
        let (node, any) = match addr {
            SocketAddr::V4(_) => (&self.v4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&self.v6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
        };
        let start = || {
            let builder = Node::builder(Arc::clone(&self.credentials)).on_this_local_set();
            let dials = Arc::<Dials>::clone(&self.dials);
            builder.listen(SocketAddr::new(any, 0)).link_listener(dials).start()
        };
        let node = node.get_or_try_init(start).await?.clone();
        let dial_error = self.dials.to(&name);
        node.connect(name.clone(), addr).await?;
        Ok(Target { node, name, dial_error })
    }

    /// Closes every link, as far as that is quick.
    pub async fn close(self) {
        let nodes = [self.v4.get(), self.v6.get()].into_iter().flatten();
        let closing = join_all(nodes.map(|node| node.endpoint().close()));
        timeout(CLOSE_MAX, closing).await.ok();
    }
}

async fn resolve(addr: &NodeAddr) -> Result<SocketAddr, ToolError> {
    if let Ok(addr) = addr.as_str().parse() {
        return Ok(addr);
    }
    let not_found = |source| ToolError::Address { addr: addr.clone(), source };
    let found = lookup_host(addr.as_str()).await.map_err(|error| not_found(Some(error)))?.next();
    found.ok_or_else(|| not_found(None))
}

/// A node to ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Target {
    node: Node,
    name: NodeName,
    dial_error: watch::Receiver<Option<DialError>>,
}

impl Target {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &NodeName {
        &self.name
    }

    /// The tool's own end of the link.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// One of its system actors, which is looked up when it is first asked.
    #[must_use]
    pub fn actor<P: 'static>(&self, actor: &'static str) -> Found<P> {
        Found::new(self.node.clone(), self.name.clone(), name(actor))
    }

    /// One of its system actors, looked up now. Cancel-safe.
    ///
    /// # Errors
    /// [`ToolError::TurnedDown`] as soon as it is clear that the two sides do not accept each
    /// other; [`ToolError::NoAnswer`] when nothing is clear by then; why the look-up failed.
    pub async fn find<P: 'static>(
        &self,
        actor: &'static str,
        within: Duration,
    ) -> Result<Found<P>, ToolError> {
        let found = self.actor(actor);
        let mut dial_error = self.dial_error.clone();
        let turned_down = async {
            let is_lasting = |error: &Option<DialError>| error.as_ref().is_some_and(is_lasting);
            match dial_error.wait_for(is_lasting).await {
                Ok(error) => error.clone(),
                Err(_gone) => None,
            }
        };
        let looked_up = tokio::select! {
            biased;
            looked_up = found.now(within) => looked_up,
            Some(error) = turned_down => return Err(ToolError::TurnedDown(error)),
        };
        match looked_up {
            Ok(_actor) => Ok(found),
            Err(NotDelivered::Late) => Err(self.no_answer(within)),
            Err(error) => Err(ToolError::Ask(error.into())),
        }
    }

    /// Asks one of its system actors; `None` where there is no such actor. Cancel-safe, but whether
    /// the actor was asked is not known then.
    ///
    /// # Errors
    /// As [`find`](Self::find), and why it did not answer.
    pub async fn ask_if_there<P, M>(
        &self,
        actor: &'static str,
        message: M,
        within: Duration,
    ) -> Result<Option<M::Result>, ToolError>
    where
        P: Accepts<M>,
        M: RemoteMessage,
        M::Result: Send,
    {
        match self.find::<P>(actor, within).await {
            Ok(found) => Ok(Some(found.ask(message, within).await?)),
            Err(ToolError::Ask(AskError::NotDelivered(NotDelivered::NoSuchActor { .. }))) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How the node is. Cancel-safe.
    ///
    /// # Errors
    /// As [`find`](Self::find), why it was not asked or did not answer, and
    /// [`ToolError::BadStatus`].
    pub async fn status(&self, within: Duration) -> Result<NodeStatus, ToolError> {
        let answer = async {
            let actor = self.find::<StatusActor>(STATUS, within).await?;
            let StatusText { json } = actor.ask(Status, within).await?;
            let bad = |source| ToolError::BadStatus { node: self.name.clone(), source };
            serde_json::from_slice(&json).map_err(bad)
        };
        timeout(within, answer).await.unwrap_or_else(|_late| Err(self.no_answer(within)))
    }

    /// What the node has under way. Cancel-safe.
    ///
    /// # Errors
    /// As [`find`](Self::find), and why it was not asked or did not answer.
    pub async fn inspection(&self, within: Duration) -> Result<Inspection, ToolError> {
        let answer = async {
            self.find::<Inspector>(inspect::NAME, within).await?;
            Ok(inspect::ask_all(&self.node, &self.name, within).await?)
        };
        timeout(within, answer).await.unwrap_or_else(|_late| Err(self.no_answer(within)))
    }

    fn no_answer(&self, within: Duration) -> ToolError {
        ToolError::NoAnswer { node: self.name.clone(), within }
    }
}

/// Asks that have no answer: by node and by what is known of the message, how many, and the latest
/// in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(BTreeMap<String, (u64, String)>);

impl Faults {
    /// Counts one.
    pub fn note(&mut self, node: &NodeName, error: &AskError) {
        let known = match error {
            AskError::NotDelivered(_) => "not_delivered",
            AskError::MaybeDelivered(_) => "maybe_delivered",
        };
        let fault = self.0.entry(format!("{node} {known}")).or_default();
        *fault = (fault.0 + 1, error.to_string());
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().map(|(count, _text)| count).sum()
    }
}

/// Each kind behind two spaces, on one line.
impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(label, (count, text))| write!(f, "  {label} {count}: {text}"))
    }
}
