//! The inventory file, `cluster.toml`: which nodes a cluster has.
//!
//! ```toml
//! cluster = "prod"
//!
//! [[node]]
//! name = "n1"
//! addr = "10.0.0.1:7400"
//! roles = ["db", "vios"]
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

use crate::files::{FileError, read_public};
use crate::identity::{ClusterName, Identity, NameError, NodeName, RoleError, Roles};

/// Most nodes in one inventory.
pub const NODES_MAX: usize = 1000;
const FILE_MAX: u64 = 1 << 20;
/// Longest host name in an address: the limit of DNS.
const HOST_LEN_MAX: usize = 253;

/// Why an inventory is refused. Fault: whoever wrote the file.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, or a field is missing or unknown.
    #[error(transparent)]
    Syntax(#[from] toml::de::Error),
    /// The field `cluster` is not a name.
    #[error("cluster = {value:?}: {reason}")]
    Cluster {
        /// The text found.
        value: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// The field `name` of a node is not a name.
    #[error("name of node {position} is {value:?}: {reason}")]
    Name {
        /// Which `[[node]]`, counted from 1.
        position: usize,
        /// The text found.
        value: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// The field `addr` of a node is not `host:port`.
    #[error("addr of node {node} is {value:?}, needed is host:port with a port from 1 to 65535")]
    Addr {
        /// The node.
        node: NodeName,
        /// The text found.
        value: String,
    },
    /// The field `roles` of a node is not a list of different roles.
    #[error("roles of node {node}: {reason}")]
    Roles {
        /// The node.
        node: NodeName,
        /// What is wrong with them.
        reason: RoleError,
    },
    /// Two nodes have the same name.
    #[error("two nodes are named {name}")]
    DuplicateName {
        /// The name.
        name: NodeName,
    },
    /// Two nodes have the same address.
    #[error("two nodes have the address {addr}, the second is {node}")]
    DuplicateAddr {
        /// The address.
        addr: NodeAddr,
        /// The second of them.
        node: NodeName,
    },
    /// There are no nodes, or too many.
    #[error("inventory holds {count} nodes, allowed are 1 to {NODES_MAX}")]
    NodeCount {
        /// How many were found.
        count: usize,
    },
}

/// Where a node is reached: `host:port`, the host being a name, an IPv4 address, or an IPv6 address
/// in brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddr(String);

impl NodeAddr {
    /// The address as `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not host:port with a port from 1 to 65535")]
pub struct NodeAddrError;

impl FromStr for NodeAddr {
    type Err = NodeAddrError;

    fn from_str(text: &str) -> Result<Self, NodeAddrError> {
        let (host, port) = text.rsplit_once(':').ok_or(NodeAddrError)?;
        let port_is_valid = !port.starts_with('+') && port.parse::<u16>().is_ok_and(|n| n > 0);
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_is_valid = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
                !host.is_empty() && host.len() <= HOST_LEN_MAX && host.chars().all(letter)
            }
        };
        (port_is_valid && host_is_valid).then(|| Self(text.to_owned())).ok_or(NodeAddrError)
    }
}

/// One node of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryNode {
    /// The node's name.
    pub name: NodeName,
    /// Where its peers reach it.
    pub addr: NodeAddr,
    /// What it may do.
    pub roles: Roles,
}

/// The nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Its nodes, 1 to [`NODES_MAX`], in the file's order, names and addresses all different.
    pub nodes: Vec<InventoryNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInventory {
    cluster: String,
    #[serde(default)]
    node: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: String,
    addr: String,
    #[serde(default)]
    roles: Vec<String>,
}

impl Inventory {
    /// Reads an inventory file.
    ///
    /// # Errors
    /// The file is unreadable, or its content is not an inventory.
    pub fn load(path: &Path) -> Result<Self, InventoryError> {
        let bytes = read_public(path, FILE_MAX)?;
        String::from_utf8_lossy(&bytes).parse()
    }

    /// The identity that `node`'s certificate carries.
    #[must_use]
    pub fn identity(&self, node: &InventoryNode) -> Identity {
        Identity::node(self.cluster.clone(), node.name.clone(), node.roles)
    }
}

impl FromStr for Inventory {
    type Err = InventoryError;

    fn from_str(text: &str) -> Result<Self, InventoryError> {
        let raw: RawInventory = toml::from_str(text)?;
        let cluster = match raw.cluster.parse() {
            Ok(cluster) => cluster,
            Err(reason) => {
                return Err(InventoryError::Cluster { value: raw.cluster, reason });
            }
        };
        let count = raw.node.len();
        if count == 0 || count > NODES_MAX {
            return Err(InventoryError::NodeCount { count });
        }
        let (mut names, mut addrs) = (BTreeSet::new(), BTreeSet::new());
        let mut nodes = Vec::with_capacity(count);
        for (index, raw) in raw.node.into_iter().enumerate() {
            let node = read_node(index.saturating_add(1), raw)?;
            if !names.insert(node.name.clone()) {
                return Err(InventoryError::DuplicateName { name: node.name });
            }
            if !addrs.insert(node.addr.clone()) {
                return Err(InventoryError::DuplicateAddr { addr: node.addr, node: node.name });
            }
            nodes.push(node);
        }
        Ok(Self { cluster, nodes })
    }
}

fn read_node(position: usize, raw: RawNode) -> Result<InventoryNode, InventoryError> {
    let name: NodeName = match raw.name.parse() {
        Ok(name) => name,
        Err(reason) => {
            return Err(InventoryError::Name { position, value: raw.name, reason });
        }
    };
    let Ok(addr) = raw.addr.parse() else {
        return Err(InventoryError::Addr { node: name, value: raw.addr });
    };
    match Roles::parse_list(raw.roles.iter().map(String::as_str)) {
        Ok(roles) => Ok(InventoryNode { name, addr, roles }),
        Err(reason) => Err(InventoryError::Roles { node: name, reason }),
    }
}

#[cfg(test)]
mod tests;
