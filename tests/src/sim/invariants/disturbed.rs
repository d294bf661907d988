//! When something other than a rotation happened to a pair of nodes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::sim::{Event, Fault, Kind, NodeId, RECOVERY_MS};

/// A node that starts, or gets a good certificate, is linked again after this, milliseconds: a dial
/// begun too early (`handshake_timeout`, 2 s) and the longest back-off (1 s).
const RETURN_MS: u64 = 3000;

/// What a disturbance happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The path between two nodes, the lower one first.
    Path(NodeId, NodeId),
    /// A node that is down, or on its way there.
    Down(NodeId),
    /// A node whose certificate is refused.
    Refused(NodeId),
}

impl Place {
    fn path(one: NodeId, other: NodeId) -> Self {
        Self::Path(one.min(other), one.max(other))
    }

    fn touches(self, one: NodeId, other: NodeId) -> bool {
        match self {
            Self::Path(lower, higher) => (lower, higher) == (one.min(other), one.max(other)),
            Self::Down(node) | Self::Refused(node) => node == one || node == other,
        }
    }

    /// How long links may take to recover after it.
    const fn aftermath_ms(self) -> u64 {
        match self {
            Self::Path(..) => RECOVERY_MS,
            Self::Down(_) | Self::Refused(_) => RETURN_MS,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) place: Place,
    pub(super) from_ms: u64,
    until_ms: u64,
}

/// Every disturbance of a history.
#[derive(Debug, Default)]
pub(super) struct Disturbed {
    spans: Vec<Span>,
    /// How many faults hold a place, and since when the first does.
    open: BTreeMap<Place, (u32, u64)>,
    /// Certificates in use that will be over.
    over_ms: BTreeMap<NodeId, u64>,
}

impl Disturbed {
    pub(super) fn new(events: &[Event]) -> Self {
        let mut disturbed = Self::default();
        for Event { at_ms, kind, .. } in events {
            match kind {
                Kind::Fault(fault) => disturbed.note(*at_ms, *fault),
                Kind::Issued { node, over_ms, .. } => disturbed.issued(*at_ms, *node, *over_ms),
                _other => {}
            }
        }
        let open = std::mem::take(&mut disturbed.open);
        let spans = open.into_iter().map(|(place, (_count, from_ms))| (place, from_ms));
        let never_ended = spans.map(|(place, from_ms)| Span { place, from_ms, until_ms: u64::MAX });
        disturbed.spans.extend(never_ended);
        disturbed
    }

    /// What touches the pair at some moment of `when`, its aftermath counted in.
    pub(super) fn touching(
        &self,
        one: NodeId,
        other: NodeId,
        when: RangeInclusive<u64>,
    ) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(move |span| {
            let over_ms = span.until_ms.saturating_add(span.place.aftermath_ms());
            span.place.touches(one, other) && span.from_ms <= *when.end() && *when.start() < over_ms
        })
    }

    fn note(&mut self, at_ms: u64, fault: Fault) {
        match fault {
            Fault::Cut(one, other) | Fault::CutOneWay(one, other) | Fault::Storm(one, other, _) => {
                self.begin(at_ms, Place::path(one, other));
            }
            Fault::Heal(one, other) | Fault::Calm(one, other) => {
                self.end(at_ms, Place::path(one, other));
            }
            Fault::Crash(node) | Fault::Close(node) => self.begin(at_ms, Place::Down(node)),
            Fault::Restart(node) => self.end(at_ms, Place::Down(node)),
            Fault::Revoke(node) => {
                self.open.entry(Place::Refused(node)).or_insert((1, at_ms));
            }
            // The world says `Issued` too.
            Fault::Rotate(_) | Fault::Shorten(..) => {}
        }
    }

    fn issued(&mut self, at_ms: u64, node: NodeId, over_ms: Option<u64>) {
        self.end(at_ms, Place::Refused(node));
        if let Some(from_ms) = self.over_ms.remove(&node).filter(|over_ms| *over_ms < at_ms) {
            self.spans.push(Span { place: Place::Refused(node), from_ms, until_ms: at_ms });
        }
        self.over_ms.extend(over_ms.map(|over_ms| (node, over_ms)));
    }

    fn begin(&mut self, at_ms: u64, place: Place) {
        self.open.entry(place).or_insert((0, at_ms)).0 += 1;
    }

    fn end(&mut self, at_ms: u64, place: Place) {
        let Some((count, from_ms)) = self.open.get_mut(&place) else { return };
        *count -= 1;
        if *count == 0 {
            self.spans.push(Span { place, from_ms: *from_ms, until_ms: at_ms });
            self.open.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{ONE, Scene, TWO};
    use super::*;

    const THREE: NodeId = NodeId(3);

    fn disturbed(steps: &[(u64, Kind)]) -> Disturbed {
        let scene = steps
            .iter()
            .cloned()
            .fold(Scene::new(), |scene, (at_ms, kind)| scene.world(at_ms, kind));
        Disturbed::new(&scene.0)
    }

    fn is_touched(disturbed: &Disturbed, one: NodeId, other: NodeId, at_ms: u64) -> bool {
        disturbed.touching(one, other, at_ms..=at_ms).next().is_some()
    }

    #[test]
    fn faults_of_one_path_that_overlap_count_until_the_last_is_over() {
        let history = disturbed(&[
            (100, Kind::Fault(Fault::Cut(TWO, ONE))),
            (200, Kind::Fault(Fault::CutOneWay(ONE, TWO))),
            (300, Kind::Fault(Fault::Heal(ONE, TWO))),
            (400, Kind::Fault(Fault::Heal(TWO, ONE))),
        ]);
        let touched = |at_ms| is_touched(&history, ONE, TWO, at_ms);
        let over_ms = 400 + RECOVERY_MS;
        assert_eq!([99, 100, over_ms - 1, over_ms].map(touched), [false, true, true, false]);
        assert!(!is_touched(&history, ONE, THREE, 200));
    }

    #[test]
    fn a_node_that_is_down_or_refused_touches_all_its_pairs_and_a_rotation_none() {
        let issued = |node, over_ms| Kind::Issued { node, leaf: 2, over_ms };
        let history = disturbed(&[
            (100, Kind::Fault(Fault::Close(ONE))),
            (200, Kind::Fault(Fault::Restart(ONE))),
            (5000, Kind::Fault(Fault::Revoke(TWO))),
            (6000, issued(TWO, None)),
            (10_000, issued(ONE, Some(12_000))),
            (13_000, issued(ONE, None)),
            (20_000, Kind::Fault(Fault::Rotate(ONE))),
            (20_000, issued(ONE, None)),
        ]);
        let touched = |one, other, at_ms| is_touched(&history, one, other, at_ms);
        assert!(touched(ONE, THREE, 150) && !touched(TWO, THREE, 150));
        assert!(touched(TWO, THREE, 5500) && !touched(ONE, THREE, 5500));
        assert!(!touched(ONE, TWO, 11_999) && touched(ONE, TWO, 12_000));
        assert!(!touched(ONE, TWO, 20_000));
    }
}
