//! The node's file, `vioduct.toml`.
//!
//! ```toml
//! [node]
//! name = "n1"               # as the certificate says
//! listen = "10.0.0.1:7400"  # UDP
//! advertise = "n1:7400"     # where others dial it; needed if `listen` is no single address
//! data_dir = "data"         # relative to this file
//! certs_dir = "."           # node.crt, node.key, ca.crt, ca.crl
//! workers = 4               # threads for actors; may be left out: one for each core
//!
//! [[peer]]                  # one for each other node
//! name = "n2"
//! addr = "10.0.0.2:7400"
//!
//! [[adapter]]               # on a node with a VIOS: a way to the storage, one or more
//! storage = "n3"            # the node that serves it
//! addr = "10.1.0.3:7500"    # where that listens for this fabric, UDP; another for each adapter
//! listen = "10.1.0.1:0"     # may be left out: the host of node.listen, any port
//! name = "fcs0"             # may be left out: adapter1, adapter2, …
//!
//! [outside]                 # in place of adapters: a storage outside of the cluster, by NBD
//! server = "tcp:10.1.0.9:10809" # or "unix:/run/nbd.sock"
//! name = "san"              # may be left out: outside
//!
//! [dsa]                     # every key may be left out: when a way to the storage is lost
//! silence_max_ms = 1000
//!
//! [storage]                 # on a node that serves a volume
//! volume = "volume"         # its directory, relative to this file
//! listen = "10.1.0.3:7500"  # for the fabric, UDP; or a list, one for each fabric
//!
//! [phyp]                    # on a node that carries clients' disks
//! cec = 1
//!
//! [db]                      # on a node with a replica of the cluster's database
//! dir = "db"                # where it is kept, relative to this file
//! shards = 0                # beside the system's; the same on all nodes, for ever
//! # heartbeat_ms, election_ms: when replicas doubt their leader
//! # reserve = "256MiB"      # bytes that are kept free: with less, writes are refused
//!
//! [cm]                      # how it follows the cluster's database: needed for disks
//! cec = 1                   # the host of its VIOS, which registers; left out if it has none
//! # attempts, answer_within_ms, pause_ms: when that is given up
//!
//! [renewal]                 # may be left out: then somebody renews the certificate by hand
//! command = ["/usr/local/bin/sign-vioduct"]
//!
//! [transport]               # every key may be left out
//! lanes = 4
//! ```
//!
//! Unknown keys are errors. Every message names the file, the key, what it holds and what it may.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vioduct_certs::files::{FileError, read_public};
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::{Inventory, InventoryNode, NodeAddr};
use vioduct_runtime::WORKERS_MAX;
use vioduct_transport::TransportConfig;

use crate::db::DbConfig;

mod cm;
mod db;
mod disks;
mod renewal;
mod size;
mod transport;

pub use cm::CmSettings;
use cm::RawCm;
use db::RawDb;
pub use disks::DiskRoles;
use disks::{RawAdapter, RawDisks, RawDsa, RawOutside, RawPhyp, RawStorage, Site};
use renewal::RawRenewal;
pub use renewal::RenewalConfig;
pub use size::{ByteSize, NoSize};
use transport::RawTransport;

/// Name of the file in a host's directory.
pub const CONFIG_FILE: &str = "vioduct.toml";
const FILE_MAX: u64 = 1 << 20;
const ADDR_BOUND: &str = "host:port with a port from 1 to 65535";

/// Why a node's file is refused. Fault: whoever wrote the file. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, a key is missing or unknown, or a value is of another kind.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and key; with a suggestion for a misspelt key.
        message: String,
    },
    /// A value is out of its bounds.
    #[error("{}: {key} is {value}; it must be {bound}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        bound: String,
    },
}

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its name.
    pub name: NodeName,
    /// Where it listens.
    pub addr: NodeAddr,
}

/// A node's settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The file that they come from.
    pub path: PathBuf,
    /// The node's name; its certificate must say the same.
    pub name: NodeName,
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Where others dial it; `None` for where it listens.
    pub advertise: Option<NodeAddr>,
    /// Directory for what outlives a run.
    pub data_dir: PathBuf,
    /// Directory of the certificates.
    pub certs_dir: PathBuf,
    /// Threads that actors run on, the first with the links; `None` for one for each core.
    pub workers: Option<usize>,
    /// The other nodes, names all different.
    pub peers: Vec<PeerConfig>,
    /// How the certificate is renewed; `None` when that is done by hand.
    pub renewal: Option<RenewalConfig>,
    /// Settings of the links.
    pub transport: TransportConfig,
    /// What it does for disks.
    pub disks: DiskRoles,
    /// What it does for the database.
    pub db: Option<DbConfig>,
    /// How it follows the cluster's database.
    pub cm: Option<CmSettings>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    node: RawNode,
    #[serde(default)]
    peer: Vec<RawPeer>,
    #[serde(default)]
    adapter: Vec<RawAdapter>,
    outside: Option<RawOutside>,
    #[serde(default)]
    dsa: RawDsa,
    storage: Option<RawStorage>,
    phyp: Option<RawPhyp>,
    db: Option<RawDb>,
    cm: Option<RawCm>,
    renewal: Option<RawRenewal>,
    #[serde(default)]
    transport: RawTransport,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: NodeName,
    listen: SocketAddr,
    advertise: Option<String>,
    data_dir: PathBuf,
    certs_dir: PathBuf,
    workers: Option<usize>,
}

impl RawNode {
    fn advertised(&self) -> Result<Option<NodeAddr>, WrongSetting> {
        let wrong = |value: String, bound: &str| WrongSetting {
            key: "node.advertise".to_owned(),
            value,
            bound: bound.to_owned(),
        };
        match &self.advertise {
            Some(addr) => {
                let addr = addr.parse().map_err(|_wrong| wrong(format!("{addr:?}"), ADDR_BOUND))?;
                Ok(Some(addr))
            }
            None if self.listen.ip().is_unspecified() => {
                let bound = "host:port, since node.listen is no address that others can dial";
                Err(wrong("missing".to_owned(), bound))
            }
            None => Ok(None),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPeer {
    name: NodeName,
    addr: String,
}

/// A setting out of its range.
struct WrongSetting {
    key: String,
    value: String,
    bound: String,
}

impl NodeConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read_public(path, FILE_MAX)?;
        Self::parse(path, &String::from_utf8_lossy(&bytes))
    }

    /// Checks the text of the file `path`, which only names it and places its directories.
    ///
    /// # Errors
    /// [`ConfigError`], less those of reading.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: with_suggestion(error.to_string().trim_end()),
        })?;
        let value = |key: &str, value: String, bound: &str| ConfigError::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            value,
            bound: bound.to_owned(),
        };
        let RawConfig {
            node,
            peer,
            adapter,
            outside,
            dsa,
            storage,
            phyp,
            db,
            cm,
            renewal,
            transport,
        } = raw;
        let setting = |wrong: WrongSetting| value(&wrong.key, wrong.value, &wrong.bound);
        let home = path.parent().unwrap_or(Path::new(""));
        if node.listen.port() == 0 {
            let bound = "an address with a port from 1 to 65535";
            return Err(value("node.listen", node.listen.to_string(), bound));
        }
        let advertise = node.advertised().map_err(setting)?;
        if let Some(count) = node.workers
            && !(1..=WORKERS_MAX).contains(&count)
        {
            let bound = format!("1 to {WORKERS_MAX}");
            return Err(value("node.workers", count.to_string(), &bound));
        }
        let renewal = renewal.map(|raw| raw.checked(home)).transpose().map_err(setting)?;
        let transport = transport.checked().map_err(setting)?;
        let db = db.map(|raw| raw.checked(home)).transpose().map_err(setting)?;
        let cm = cm.map(RawCm::checked).transpose().map_err(setting)?;
        let data_dir = home.join(node.data_dir);
        let disks = RawDisks { adapter, outside, dsa, storage, phyp };
        let (host, cluster) = (node.listen.ip(), cm.as_ref());
        let site = Site { host, home, data_dir: &data_dir, cluster };
        let disks = disks.checked(&site).map_err(setting)?;
        let peers = peers(peer, &node.name, transport.peers_max).map_err(setting)?;
        Ok(Self {
            path: path.to_owned(),
            name: node.name,
            listen: node.listen,
            advertise,
            data_dir,
            certs_dir: home.join(node.certs_dir),
            workers: node.workers,
            peers,
            renewal,
            transport,
            disks,
            db,
            cm,
        })
    }
}

/// The other nodes, each of them once, `limit` at most.
fn peers(raw: Vec<RawPeer>, own: &NodeName, limit: u32) -> Result<Vec<PeerConfig>, WrongSetting> {
    let wrong = |key: &str, value: String, bound: &str| WrongSetting {
        key: key.to_owned(),
        value,
        bound: bound.to_owned(),
    };
    if raw.len() > limit as usize {
        let bound = format!("at most transport.peers_max, {limit}");
        return Err(wrong("the number of peers", raw.len().to_string(), &bound));
    }
    let mut names = BTreeSet::from([own.clone()]);
    let mut peers = Vec::with_capacity(raw.len());
    for RawPeer { name, addr } in raw {
        if !names.insert(name.clone()) {
            let bound = "another name than this node's and every other peer's";
            return Err(wrong("peer.name", format!("{:?}", name.as_str()), bound));
        }
        let Ok(addr) = addr.parse() else {
            return Err(wrong(&format!("peer.addr of {name}"), format!("{addr:?}"), ADDR_BOUND));
        };
        peers.push(PeerConfig { name, addr });
    }
    Ok(peers)
}

/// The file of one node of an inventory: it lies beside the certificates, and has every other node
/// as a peer. A node whose address is a name listens on every address of its host.
pub fn render(node: &InventoryNode, inventory: &Inventory) -> String {
    let listen = match node.addr.as_str().parse::<SocketAddr>() {
        Ok(addr) => format!("listen = \"{addr}\""),
        Err(_name) => {
            let port = node.addr.as_str().rsplit_once(':').map_or("7400", |(_host, port)| port);
            format!("listen = \"0.0.0.0:{port}\"\nadvertise = \"{}\"", node.addr)
        }
    };
    let (name, cluster) = (&node.name, &inventory.cluster);
    let mut text = format!(
        "# Node {name} of cluster {cluster}.\n\
         # After a change: `vioduct node start --config FILE --check`.\n\
         \n\
         [node]\n\
         name = \"{name}\"\n\
         {listen}\n\
         data_dir = \"data\"\n\
         certs_dir = \".\"\n"
    );
    for peer in inventory.nodes.iter().filter(|peer| peer.name != node.name) {
        let (name, addr) = (&peer.name, &peer.addr);
        write!(text, "\n[[peer]]\nname = \"{name}\"\naddr = \"{addr}\"\n")
            .expect("a string takes all that is written");
    }
    text
}

/// Adds the nearest known key to the parser's words on an unknown one.
fn with_suggestion(message: &str) -> String {
    let mut quoted =
        message.rsplit_once("unknown field").map_or("", |(_before, rest)| rest).split('`');
    // Words between backquotes stand at the odd places.
    let names: Vec<&str> = quoted.by_ref().skip(1).step_by(2).collect();
    let Some((unknown, known)) = names.split_first() else { return message.to_owned() };
    let nearest = known.iter().map(|name| (distance(unknown, name), name)).min();
    match nearest {
        Some((away, name)) if away <= 2 || away * 3 <= unknown.len() => {
            format!("{message}\ndid you mean `{name}`?")
        }
        _far => message.to_owned(),
    }
}

/// Letters to add, drop or change to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, theirs) in row.iter_mut().skip(1).zip(other.chars()) {
            let changed = diagonal + usize::from(letter != theirs);
            diagonal = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
