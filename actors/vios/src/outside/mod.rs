//! A storage outside of the cluster: an NBD server that knows nothing of sessions and fences
//! nobody, such as qemu-nbd, nbdkit, or a gateway to a SAN.
//!
//! ```text
//!   Redirect ── calls ──▶ Outside ── a connection for each session ──▶ NBD server
//!      ▲ ▲                 │ │ ╰──── probe: heartbeats ────────────────▶
//!      │ ╰─ words, path ───╯ ╰──▶ Dsa
//! ```
//!
//! [`Outside`] is the physical adapter that leads there, and the hands of
//! [`Initiator`](crate::redirect::initiator::Initiator). What keeps late writes from landing on
//! newer ones is the owner's hold and the exits' lease: redirect protocol, rule 12.

mod actor;
mod follow;
mod probe;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use actix::Message;
use vioduct_runtime::{ActorName, LocalRef, Node, RestartPolicy, StartError};

pub(crate) use self::actor::Describe;
pub use self::actor::Outside;
pub(crate) use self::follow::follow;
use crate::carry::CarriedWord;
use crate::cke::Redirect;
use crate::dsa::{Dsa, DsaError};
use crate::nbd::client::Address;
use crate::redirect::limits::InitiatorLimits;
use crate::redirect::name::{ConnId, LuId};

/// The name of the adapter that leads to an outside storage among the actors of its node.
pub const OUTSIDE_NAME: &str = "vios.outside";

/// An outside storage, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideConfig {
    /// What operators call the adapter: letters, digits, `.`, `-`, `_`.
    pub name: String,
    /// Where the server listens.
    pub server: Server,
    /// The LUs on it from the start; in a cluster, its database has them.
    pub exports: BTreeMap<LuId, Export>,
    /// Bounds of its sessions. All VIOSes of a cluster have the same lease.
    pub limits: InitiatorLimits,
}

/// An LU on an outside storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Name of the export; the empty one is the server's default.
    pub name: String,
    /// No other VIOS uses it, so that its connections need not see the same data.
    pub is_sole: bool,
}

/// Where an outside NBD server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(pub Address);

/// A text that names no NBD server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no NBD server; needed is unix:/PATH or tcp:ADDR:PORT")]
pub struct NoServer(pub String);

impl FromStr for Server {
    type Err = NoServer;

    fn from_str(text: &str) -> Result<Self, NoServer> {
        let unix = text.strip_prefix("unix:").filter(|path| path.starts_with('/'));
        let unix = unix.map(|path| Address::Unix(PathBuf::from(path)));
        let tcp = text.strip_prefix("tcp:").and_then(|addr| addr.parse::<SocketAddr>().ok());
        let address = unix.or(tcp.map(Address::Tcp));
        address.map(Self).ok_or_else(|| NoServer(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(addr) => write!(f, "tcp:{addr}"),
        }
    }
}

/// A word of an outside storage's session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromOutside {
    pub(crate) conn: ConnId,
    pub(crate) came: CarriedWord,
}

/// Send a heartbeat.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct OutsideBeat {
    pub(crate) no: u64,
}

/// Starts the adapter that leads to an outside storage, beside its VIOS's redirect actor.
///
/// # Errors
/// [`DsaError`]; nothing runs then.
pub async fn start(
    node: &Node,
    redirect: &LocalRef<Redirect>,
    dsa: &LocalRef<Dsa>,
    config: OutsideConfig,
) -> Result<LocalRef<Outside>, DsaError> {
    let mut outside = Some(Outside::new(config, redirect.clone(), dsa.clone(), rand::random())?);
    let actor = node.actor(move || outside.take().expect("it is made once")).beside(redirect);
    let name = ActorName::new(OUTSIDE_NAME).expect("a constant that is a name");
    let actor = actor.restart(RestartPolicy::never()).named(name);
    Ok(actor.start().await?.now().ok_or(StartError::Closing)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_socket() {
        for text in ["unix:/run/nbd.sock", "tcp:127.0.0.1:10809", "tcp:[::1]:10809"] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), text);
        }
        for text in ["", "unix:run/nbd.sock", "tcp:localhost:10809", "nbd://127.0.0.1"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
