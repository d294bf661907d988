//! A certificate that is revoked or over carries no link and no message, until the node has a good
//! one.

use std::collections::BTreeMap;

use super::Violation;
use crate::sim::{Event, Fault, Kind, NodeId, Source};

/// A link is cut this long after a certificate of it is over, milliseconds: dates have a grain of
/// one second, and the last one still counts.
const CUT_MS: u64 = 2000;
/// What a node received before its link was cut is handed over within this, milliseconds.
const HAND_OVER_MS: u64 = 1000;
/// A node that is not told that its link was cut finds out after this, milliseconds
/// (`idle_timeout`). Until then it may hand over what came before the cut: a message may wait for
/// the body of an earlier one.
const UNTOLD_MS: u64 = 2000;

/// What is known of the nodes' certificates.
#[derive(Debug, Default)]
struct Trust {
    /// By node: the newest certificate, and from when it is over.
    newest: BTreeMap<NodeId, (u8, u64)>,
    /// By node and revoked certificate: the list that says so.
    revoked: BTreeMap<(NodeId, u8), u64>,
    /// By node: its lists, and when it loaded them first.
    loaded: BTreeMap<NodeId, BTreeMap<u64, u64>>,
    /// By judging node and peer: the certificate of the connection that carries the link.
    carried: BTreeMap<(NodeId, NodeId), u8>,
}

impl Trust {
    /// Since when a node's certificate is not good in the eyes of a judge.
    fn ended_ms(&self, judge: NodeId, node: NodeId, leaf: u8) -> Option<u64> {
        let crl = self.revoked.get(&(node, leaf));
        let lists = self.loaded.get(&judge);
        let revoked = crl.and_then(|crl| lists?.range(crl..).map(|(_crl, at_ms)| *at_ms).min());
        let newest = self.newest.get(&node).filter(|(newest, _over_ms)| *newest == leaf);
        let over = newest.map(|(_leaf, over_ms)| over_ms.saturating_add(CUT_MS));
        [revoked, over].into_iter().flatten().min()
    }

    /// Since when a node has had no certificate that is good in the eyes of a judge.
    fn refused_ms(&self, judge: NodeId, node: NodeId) -> Option<u64> {
        let (leaf, _over_ms) = self.newest.get(&node)?;
        self.ended_ms(judge, node, *leaf)
    }

    fn note(&mut self, event: &Event) {
        match (event.source, &event.kind) {
            (_, Kind::Issued { node, leaf, over_ms }) => {
                self.newest.insert(*node, (*leaf, over_ms.unwrap_or(u64::MAX)));
            }
            (_, Kind::Revoked { node, leaf, crl }) => {
                self.revoked.entry((*node, *leaf)).or_insert(*crl);
            }
            (Source::Node { node, .. }, Kind::Loaded { crl, .. }) => {
                self.loaded.entry(node).or_default().entry(*crl).or_insert(event.at_ms);
            }
            (Source::Node { node, .. }, Kind::Started) => {
                self.carried.retain(|(judge, _peer), _leaf| *judge != node);
            }
            (Source::Node { node, .. }, Kind::Up { peer, leaf, .. }) => {
                self.carried.insert((node, *peer), *leaf);
            }
            (Source::Node { node, .. }, Kind::Down { peer, .. }) => {
                self.carried.remove(&(node, *peer));
            }
            (Source::Node { node, .. }, Kind::Closed) => {
                self.carried.retain(|(judge, _peer), _leaf| *judge != node);
            }
            (_, Kind::Fault(Fault::Crash(node))) => {
                self.carried.retain(|(judge, _peer), _leaf| judge != node);
            }
            _other => {}
        }
    }

    /// A link that is carried by a certificate that has not been good for a while.
    fn check_links(&self, at_ms: u64) -> Result<(), Violation> {
        for ((judge, peer), leaf) in &self.carried {
            if self.ended_ms(*judge, *peer, *leaf).is_some_and(|ended_ms| ended_ms < at_ms) {
                let (node, peer) = (*judge, *peer);
                return Err(Violation::Distrusted { node, peer, at_ms });
            }
        }
        Ok(())
    }

    fn check_delivery(&self, at_ms: u64, from: NodeId, to: NodeId) -> Result<(), Violation> {
        // Each side judges the other; a link needs both.
        let by_receiver = self.refused_ms(to, from);
        let by_sender = self.refused_ms(from, to).map(|ms| ms.saturating_add(UNTOLD_MS));
        let over_ms = by_receiver.into_iter().chain(by_sender).min();
        if over_ms.is_some_and(|over_ms| over_ms.saturating_add(HAND_OVER_MS) < at_ms) {
            return Err(Violation::Distrusted { node: to, peer: from, at_ms });
        }
        Ok(())
    }
}

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let mut trust = Trust::default();
    for event in events {
        trust.check_links(event.at_ms)?;
        trust.note(event);
        if let Kind::Delivered { message, .. } = event.kind {
            trust.check_delivery(event.at_ms, message.from, message.to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{ONE, Scene, TWO, breaks, holds, message};
    use super::*;
    use crate::sim::MessageId;

    /// The second node's certificate is revoked at 20 ms; the first node knows at 30 ms.
    fn revoked() -> Scene {
        Scene::new()
            .world(0, Kind::Issued { node: TWO, leaf: 1, over_ms: None })
            .at(ONE, 1, Kind::Loaded { leaf: 1, crl: 1 })
            .up(ONE, TWO, 5)
            .world(20, Kind::Revoked { node: TWO, leaf: 1, crl: 2 })
            .at(ONE, 30, Kind::Loaded { leaf: 1, crl: 2 })
    }

    fn down() -> Kind {
        Kind::Down { peer: TWO, reason: "evicted" }
    }

    #[test]
    fn a_link_that_a_revoked_certificate_still_carries_is_found() {
        let later = |scene: Scene| scene.at(ONE, 31, Kind::Finished);
        holds(check, later(revoked().at(ONE, 30, down())));
        let violation = Violation::Distrusted { node: ONE, peer: TWO, at_ms: 31 };
        breaks(check, later(revoked()), violation);
        let again = revoked().at(ONE, 30, down()).up(ONE, TWO, 30);
        breaks(check, later(again), violation);
    }

    #[test]
    fn a_message_long_after_a_revocation_is_found() {
        let delivered = |from, to, at_ms, scene: Scene| {
            let message = MessageId { from, to, ..message(1) };
            scene.at(to, at_ms, Kind::Delivered { message, is_intact: true })
        };
        let revoked = || revoked().at(ONE, 30, down());
        let last_ms = 30 + HAND_OVER_MS;
        holds(check, delivered(TWO, ONE, last_ms, revoked()));
        let violation = Violation::Distrusted { node: ONE, peer: TWO, at_ms: last_ms + 1 };
        breaks(check, delivered(TWO, ONE, last_ms + 1, revoked()), violation);
        let last_ms = last_ms + UNTOLD_MS;
        holds(check, delivered(ONE, TWO, last_ms, revoked()));
        let violation = Violation::Distrusted { node: TWO, peer: ONE, at_ms: last_ms + 1 };
        breaks(check, delivered(ONE, TWO, last_ms + 1, revoked()), violation);
        let issued = Kind::Issued { node: TWO, leaf: 2, over_ms: None };
        holds(check, delivered(ONE, TWO, last_ms + 1, revoked().world(40, issued)));
    }

    #[test]
    fn a_link_that_outlives_a_certificate_is_found() {
        let issued = Kind::Issued { node: TWO, leaf: 1, over_ms: Some(1000) };
        let scene = |at_ms| {
            let scene = Scene::new().world(0, issued.clone()).up(ONE, TWO, 5);
            scene.at(ONE, at_ms, Kind::Finished)
        };
        holds(check, scene(1000 + CUT_MS));
        let at_ms = 1001 + CUT_MS;
        breaks(check, scene(at_ms), Violation::Distrusted { node: ONE, peer: TWO, at_ms });
    }
}
