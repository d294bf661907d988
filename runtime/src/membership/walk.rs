//! Reading another member's roster from end to end.
//!
//! foca's answer to an announcement names some members, as many as fit a datagram, and of the news
//! before a node's arrival the node hears no more: it would know the rest when each has probed it,
//! after as many periods as there are nodes. So whoever joins asks for the roster, page by page, in
//! order of the names: at once, and a while later twice again, for those who joined meanwhile. It
//! asks no more after that, however large the cluster: traffic without an occasion does not grow.
//!
//! ```text
//!  resting until begin_at ──▶ asked for what follows `after` ──page──▶ … ──last page──▶ resting
//!                                └──no page in time: somebody else is asked for the same──┘
//! ```

use std::time::Duration;

use super::member::Key;
use super::moment::Moment;

/// When the rosters are read, in periods of [`join_period`](super::MembershipConfig::join_period)
/// after the first one.
const PAUSES: [u32; 2] = [10, 60];
/// Pages asked for in vain before a reading is given up.
const FAILURES_MAX: u32 = 8;

/// Where the reading stands.
#[derive(Debug, Clone, Copy)]
enum State {
    Idle,
    /// A reading begins then.
    Resting {
        begin_at: Moment,
    },
    /// The page that follows this name was asked for, and has to come until then.
    Asked {
        after: Option<Key>,
        retry_at: Moment,
        failures: u32,
    },
}

/// Says when to ask for which page.
#[derive(Debug)]
pub(super) struct Walk {
    state: State,
    pauses: std::slice::Iter<'static, u32>,
    period: Duration,
}

impl Walk {
    pub(super) fn new(period: Duration) -> Self {
        Self { state: State::Idle, pauses: [].iter(), period }
    }

    /// This node has become a member: all is to be read, from now on.
    pub(super) fn begin(&mut self, now: Moment) {
        self.state = State::Resting { begin_at: now };
        self.pauses = PAUSES.iter();
    }

    pub(super) fn stop(&mut self) {
        self.state = State::Idle;
        self.pauses = [].iter();
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Idle => None,
            State::Resting { begin_at } => Some(begin_at),
            State::Asked { retry_at, .. } => Some(retry_at),
        }
    }

    /// The page to ask for now, of anybody: what follows this name, or the first one.
    pub(super) fn ask(&mut self, now: Moment) -> Option<Option<Key>> {
        let (after, failures) = match self.state {
            State::Resting { begin_at } if begin_at <= now => (None, 0),
            State::Asked { failures, retry_at, .. }
                if retry_at <= now && failures >= FAILURES_MAX =>
            {
                self.rest(now);
                return None;
            }
            State::Asked { after, retry_at, failures } if retry_at <= now => (after, failures + 1),
            State::Idle | State::Resting { .. } | State::Asked { .. } => return None,
        };
        self.state = State::Asked { after, retry_at: now.after(self.period), failures };
        Some(after)
    }

    /// A page that follows `after` came, and ends with `last`; `None` if nothing follows it. Gives
    /// what to ask of the same member next. Other pages are late ones: they count for nothing here.
    pub(super) fn turn(
        &mut self,
        now: Moment,
        asked: Option<Key>,
        last: Option<Key>,
    ) -> Option<Key> {
        match self.state {
            State::Asked { after, .. } if after == asked => {}
            State::Idle | State::Resting { .. } | State::Asked { .. } => return None,
        }
        // Pages go on in order, so that a reading ends.
        let Some(next) = last.filter(|last| Some(*last) > asked) else {
            self.rest(now);
            return None;
        };
        let retry_at = now.after(self.period);
        self.state = State::Asked { after: Some(next), retry_at, failures: 0 };
        Some(next)
    }

    fn rest(&mut self, now: Moment) {
        self.state = match self.pauses.next() {
            Some(periods) => State::Resting { begin_at: now.after(self.period * *periods) },
            None => State::Idle,
        };
    }
}

#[cfg(test)]
mod tests {
    use vioduct_certs::identity::NodeName;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: &str) -> Key {
        Key::from(&name.parse::<NodeName>().unwrap())
    }

    fn at(second: u32) -> Moment {
        Moment::START.after(second * SECOND)
    }

    fn begun() -> Walk {
        let mut walk = Walk::new(SECOND);
        walk.begin(at(0));
        assert_eq!(walk.ask(at(0)), Some(None));
        walk
    }

    #[test]
    fn pages_are_asked_for_in_order_until_the_last_and_then_all_again_later() {
        let mut walk = begun();
        assert_eq!(walk.turn(at(0), None, Some(key("h"))), Some(key("h")));
        // The same page once more, as from a member that was slow.
        assert_eq!(walk.turn(at(0), None, Some(key("h"))), None);
        assert_eq!(walk.turn(at(0), Some(key("h")), None), None);
        assert_eq!(walk.deadline(), Some(at(10)));
        assert_eq!(walk.ask(at(10)), Some(None));
        assert_eq!(walk.turn(at(10), None, None), None);
        assert_eq!(walk.deadline(), Some(at(70)));
        assert_eq!(walk.ask(at(70)), Some(None));
        assert_eq!(walk.turn(at(70), None, None), None);
        assert_eq!(walk.deadline(), None);
    }

    #[test]
    fn a_page_that_does_not_come_is_asked_for_again_eight_times() {
        let mut walk = begun();
        walk.turn(at(0), None, Some(key("h")));
        for second in 1..=8 {
            assert_eq!(walk.ask(at(second)), Some(Some(key("h"))));
            assert_eq!(walk.ask(at(second)), None);
        }
        assert_eq!(walk.ask(at(9)), None);
        assert_eq!(walk.deadline(), Some(at(19)));
    }

    #[test]
    fn a_member_whose_pages_run_in_a_circle_ends_the_reading() {
        let mut walk = begun();
        assert_eq!(walk.turn(at(0), None, Some(key("h"))), Some(key("h")));
        assert_eq!(walk.turn(at(0), Some(key("h")), Some(key("h"))), None);
        assert_eq!(walk.deadline(), Some(at(10)));
    }
}
