//! What a proxy has done so far.

use serde_json::{Value, json};

use super::PerDirection;

/// Counts of one direction of a UDP proxy.
///
/// `received` + `duplicated` = `forwarded` + `lost` + `dropped_by_bound` + `failed` + held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketStats {
    /// Datagrams that arrived.
    pub received: u64,
    /// Datagrams that left, copies included.
    pub forwarded: u64,
    /// Datagrams lost by chance or by a cut.
    pub lost: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Datagrams that left after one that had arrived later in their flow.
    pub reordered: u64,
    /// Datagrams dropped because a queue, or the flow table, was full, or their flow had gone.
    pub dropped_by_bound: u64,
    /// Datagrams that the kernel refused to send.
    pub failed: u64,
    /// Payload bytes of `forwarded`.
    pub bytes: u64,
}

/// Counts of a UDP proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyStats {
    /// Counts by direction.
    pub by_direction: PerDirection<PacketStats>,
    /// Client flows open now.
    pub flows: usize,
}

/// Counts of one direction of a TCP proxy, over all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamStats {
    /// Bytes taken from the sender.
    pub received: u64,
    /// Bytes handed to the receiver. `received` less this is held, or went with its connection.
    pub forwarded: u64,
}

/// Counts of a TCP proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamProxyStats {
    /// Counts by direction.
    pub by_direction: PerDirection<StreamStats>,
    /// Connections taken so far.
    pub accepted: u64,
    /// Connections turned away because too many were open.
    pub dropped_by_bound: u64,
    /// Connections that ended in a reset of both sides.
    pub reset: u64,
    /// Connections open now.
    pub open: u64,
}

impl PacketStats {
    fn to_json(self) -> Value {
        json!({
            "received": self.received,
            "forwarded": self.forwarded,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "dropped_by_bound": self.dropped_by_bound,
            "failed": self.failed,
            "bytes": self.bytes,
        })
    }
}

impl ProxyStats {
    /// The counts as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "to_target": self.by_direction.to_target.to_json(),
            "to_client": self.by_direction.to_client.to_json(),
            "flows": self.flows,
        })
    }
}

impl StreamStats {
    fn to_json(self) -> Value {
        json!({ "received": self.received, "forwarded": self.forwarded })
    }
}

impl StreamProxyStats {
    /// The counts as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "to_target": self.by_direction.to_target.to_json(),
            "to_client": self.by_direction.to_client.to_json(),
            "accepted": self.accepted,
            "dropped_by_bound": self.dropped_by_bound,
            "reset": self.reset,
            "open": self.open,
        })
    }
}
