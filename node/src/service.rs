//! Messages that a node answers on its links, and the client that asks them.
//!
//! Provisional: it stands until the actor runtime carries the same questions. Every authenticated
//! peer of the cluster, node or tool, may ask all of it; nothing here changes a node.
//!
//! | offset | bytes | of a message's head |
//! |---|---|---|
//! | 0 | 1 | kind, see [`Kind`] |
//! | 1 | 8 | `u64` little-endian: the id of a question and of its answer, or a sequence number |
//!
//! | kind | name | body |
//! |---|---|---|
//! | 1 | echo request | any |
//! | 2 | echo reply | that of the request |
//! | 3 | status request | none |
//! | 4 | status reply | JSON, [`NodeStatus`] |
//! | 5 | sink | any; counted and dropped |
//! | 6 | sink query | none |
//! | 7 | sink reply | [`SinkCount`]: `u64` LE received, `u64` LE out of order |

mod client;
mod error;
mod head;
mod pending;
mod server;
mod sinks;
mod status;

pub use client::{ClientConfig, ServiceClient, ServicePeer};
pub use error::{AskError, ClientError};
pub use head::{Head, HeadError, Kind, Request, SinkCount};
pub use server::Service;
pub use status::{
    AuthorityStatus, ConnectionStatus, LeafStatus, LinkCondition, LinkStatus, NodeStatus,
    RefusedDial, RenewalStatus, RevocationStatus, SCHEMA, ServiceCounts, TrustStatus,
};

#[cfg(test)]
mod tests;
