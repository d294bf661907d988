//! Counts the sink messages of each peer, and whether they came in order.

use std::collections::HashMap;

use vioduct_certs::identity::{Kind, NodeName};

use super::head::SinkCount;

/// Peers whose messages are counted; those of further ones are dropped uncounted.
const PEERS_MAX: usize = 4096;
/// Flows of one peer whose order is watched; messages of further ones are dropped uncounted.
const FLOWS_MAX: usize = 4096;

/// One peer's messages.
#[derive(Debug, Default)]
pub(super) struct PeerSink {
    count: SinkCount,
    /// Latest sequence number, by lane and flow.
    latest: HashMap<(u8, u32), u64>,
}

impl PeerSink {
    /// Counts a message; `false` when there is no room to watch one more flow.
    pub(super) fn take(&mut self, lane: u8, flow: u32, sequence: u64) -> bool {
        let is_full = self.latest.len() >= FLOWS_MAX;
        match self.latest.get_mut(&(lane, flow)) {
            Some(latest) => {
                if sequence <= *latest && sequence != 1 {
                    self.count.out_of_order += 1;
                } else {
                    *latest = sequence;
                }
            }
            None if is_full => return false,
            None => drop(self.latest.insert((lane, flow), sequence)),
        }
        self.count.received += 1;
        true
    }
}

/// Every peer's messages.
#[derive(Debug, Default)]
pub(super) struct Sinks {
    peers: HashMap<(Kind, NodeName), PeerSink>,
}

impl Sinks {
    /// The peer's counts; `None` when there is no room for one more peer.
    pub(super) fn peer(&mut self, kind: Kind, name: &NodeName) -> Option<&mut PeerSink> {
        let key = (kind, name.clone());
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&key) {
            return None;
        }
        Some(self.peers.entry(key).or_default())
    }

    /// What came from this peer.
    pub(super) fn count(&self, kind: Kind, name: &NodeName) -> SinkCount {
        self.peers.get(&(kind, name.clone())).map(|peer| peer.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_judged_by_flow_and_a_one_begins_anew() {
        let mut sink = PeerSink::default();
        for (flow, sequence) in [(1, 1), (2, 1), (1, 2), (2, 3), (2, 2), (2, 3), (2, 4), (1, 1)] {
            assert!(sink.take(1, flow, sequence));
        }
        assert_eq!(sink.count, SinkCount { received: 8, out_of_order: 2 });
    }

    #[test]
    fn a_peer_with_too_many_flows_takes_no_more_room() {
        let mut sink = PeerSink::default();
        let flows = u32::try_from(FLOWS_MAX).unwrap();
        assert!((0..flows).all(|flow| sink.take(1, flow, 1)));
        assert!(!sink.take(1, flows, 1));
        assert!(sink.take(1, 0, 2));
        assert_eq!(sink.count.received, u64::from(flows) + 1);
    }
}
