//! No task of the transport panics. Its debug assertions are panics too.

use super::Violation;
use crate::sim::{Event, Kind, Source};

pub(super) fn check(events: &[Event]) -> Result<(), Violation> {
    for Event { at_ms, source, kind } in events {
        if let (Kind::Panicked, Source::Node { node, .. }) = (kind, source) {
            return Err(Violation::Panicked { node: *node, at_ms: *at_ms });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{ONE, Scene, breaks, holds};
    use super::*;

    #[test]
    fn a_panic_is_found() {
        holds(check, Scene::new());
        let violation = Violation::Panicked { node: ONE, at_ms: 3 };
        breaks(check, Scene::new().at(ONE, 3, Kind::Panicked), violation);
    }
}
