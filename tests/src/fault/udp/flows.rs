//! The client flows of a UDP proxy: a bounded table of upstream sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::super::{Instant, PerDirection};
use super::open_towards;

/// Client flows that a proxy serves at a time.
pub const FLOWS_MAX: usize = 256;

/// A flow without a datagram for this long makes room when the table is asked for a new one.
pub const FLOW_IDLE: Duration = Duration::from_secs(120);

/// One client's socket towards the target.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) upstream: UdpSocket,
    pub(super) last_used: Instant,
    /// The latest arrival that has left, by direction.
    pub(super) newest: PerDirection<u64>,
}

/// Flows by client address; ordered, so that they are served in the same order each time.
#[derive(Debug)]
pub(super) struct FlowTable {
    target: SocketAddr,
    flows: BTreeMap<SocketAddr, Flow>,
}

impl FlowTable {
    pub(super) fn new(target: SocketAddr) -> Self {
        Self { target, flows: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn get_mut(&mut self, client: SocketAddr) -> Option<&mut Flow> {
        self.flows.get_mut(&client)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (SocketAddr, &mut Flow)> {
        self.flows.iter_mut().map(|(client, flow)| (*client, flow))
    }

    /// The flow of `client`, made if need be; `None` when there is no room or no socket for it.
    pub(super) fn admit(&mut self, client: SocketAddr, now: Instant) -> Option<&mut Flow> {
        if !self.flows.contains_key(&client) {
            self.flows.retain(|_client, flow| now.since(flow.last_used) < FLOW_IDLE);
            if self.flows.len() >= FLOWS_MAX {
                return None;
            }
            // Fails when descriptors run out; the client's datagram is dropped and counted.
            let upstream = open_towards(self.target).ok()?;
            let flow = Flow { upstream, last_used: now, newest: PerDirection::default() };
            self.flows.insert(client, flow);
        }
        let flow = self.flows.get_mut(&client)?;
        flow.last_used = now;
        Some(flow)
    }
}
