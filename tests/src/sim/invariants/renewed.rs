//! In the end every link is carried by the newest certificate of each side.

use std::collections::BTreeMap;

use super::Violation;
use crate::sim::{Event, Kind, Source};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    let (mut newest, mut carried) = (BTreeMap::new(), BTreeMap::new());
    for Event { source, kind, .. } in events {
        match (source, kind) {
            (_, Kind::Issued { node, leaf, .. }) => {
                newest.insert(*node, *leaf);
            }
            (Source::Node { node, .. }, Kind::Up { peer, leaf, .. }) => {
                carried.insert((*node, *peer), *leaf);
            }
            _other => {}
        }
    }
    for ((node, peer), leaf) in carried {
        if newest.get(&peer).is_some_and(|newest| *newest != leaf) {
            return Err(Violation::NotRenewed { node, peer, leaf });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{ONE, Scene, TWO, breaks, holds};
    use super::*;

    #[test]
    fn a_link_that_keeps_an_old_certificate_is_found() {
        let issued = |leaf| Kind::Issued { node: TWO, leaf, over_ms: None };
        let scene = || Scene::new().world(0, issued(1)).up(ONE, TWO, 5);
        holds(check, scene());
        let violation = Violation::NotRenewed { node: ONE, peer: TWO, leaf: 1 };
        breaks(check, scene().world(9, issued(2)), violation);
    }
}
