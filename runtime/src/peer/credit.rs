//! How much a peer may have under way to one actor: the receiver's count.
//!
//! The unit is bytes of head and body, and [`OVERHEAD_BYTES`] for each message. A peer gets a
//! window with its first bind, and more as the actor works its messages off.
//!
//! Invariants: (1) what is granted and not used, and what is held, are together never more than the
//! window, but for what a lost epoch had under way, which is at most one window more. (2) Whatever
//! is worked off is granted again, once it is a quarter of the window.

/// Added to the length of each message: what keeping it costs.
pub(crate) const OVERHEAD_BYTES: u32 = 64;

/// Credit that a message takes: three eighths of the window at most. A quarter may be worked off
/// and not granted yet, and another such message be held: there is room for this one all the same.
pub(crate) fn cost(head: usize, body: usize, window: u32) -> u32 {
    let bytes = u32::try_from(head + body).unwrap_or(u32::MAX);
    bytes.saturating_add(OVERHEAD_BYTES).min(window / 8 * 3)
}

/// The receiver's count for one peer and one actor.
#[derive(Debug)]
pub(crate) struct Account {
    window: u32,
    epoch: u32,
    /// Given in this epoch and not used.
    granted: u32,
    /// Taken in and not worked off, of all epochs.
    held: u32,
    /// Worked off and not granted again.
    owed: u32,
}

/// A message that came without credit for it. Fault: the peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

impl Account {
    pub(crate) fn new(window: u32) -> Self {
        Self { window, epoch: 0, granted: 0, held: 0, owed: 0 }
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Bytes taken in and not worked off.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// A peer binds in this epoch: what it is granted at once.
    pub(crate) fn bind(&mut self, epoch: u32) -> u32 {
        if epoch <= self.epoch {
            return 0;
        }
        self.epoch = epoch;
        self.owed = 0;
        self.granted = self.window.saturating_sub(self.held);
        self.granted
    }

    /// A message of the peer comes in.
    pub(crate) fn take_in(&mut self, epoch: u32, cost: u32) -> Result<(), Overrun> {
        if epoch == self.epoch {
            self.granted = self.granted.checked_sub(cost).ok_or(Overrun)?;
        } else if self.held.saturating_add(cost) > self.window.saturating_mul(2) {
            return Err(Overrun);
        }
        self.held = self.held.saturating_add(cost);
        Ok(())
    }

    /// A message was worked off, or dropped. Gives what is to be granted now: nothing as long as it
    /// is less than a quarter of the window. Once nothing is held, the peer then has more than
    /// three quarters, and no message costs more than three eighths.
    pub(crate) fn work_off(&mut self, cost: u32) -> Option<u32> {
        self.held = self.held.saturating_sub(cost);
        let room = self.window.saturating_sub(self.granted).saturating_sub(self.held);
        self.owed = self.owed.saturating_add(cost).min(room);
        if self.owed < self.window / 4 {
            return None;
        }
        let grant = std::mem::take(&mut self.owed);
        self.granted += grant;
        Some(grant)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: u32 = 1000;

    #[test]
    fn a_window_is_given_once_for_each_epoch() {
        let mut account = Account::new(WINDOW);
        assert_eq!([account.bind(1), account.bind(1), account.bind(2)], [WINDOW, 0, WINDOW]);
    }

    #[test]
    fn what_is_past_the_credit_is_refused_and_counts_for_nothing() {
        let mut account = Account::new(WINDOW);
        assert_eq!(account.take_in(0, 1), Err(Overrun), "never bound");
        account.bind(1);
        assert_eq!(account.take_in(1, 600), Ok(()));
        assert_eq!(account.take_in(1, 600), Err(Overrun));
        assert_eq!(account.take_in(1, 400), Ok(()));
    }

    #[test]
    fn credit_comes_back_in_quarters() {
        let mut account = Account::new(WINDOW);
        account.bind(1);
        for _message in 0..10 {
            account.take_in(1, 100).unwrap();
        }
        let grants: Vec<_> = (0..10).map(|_message| account.work_off(100)).collect();
        let (none, some) = (None, Some(300));
        assert_eq!(grants, [none, none, some, none, none, some, none, none, some, none]);
    }

    #[test]
    fn what_an_old_epoch_left_behind_narrows_the_next() {
        let mut account = Account::new(WINDOW);
        account.bind(1);
        account.take_in(1, 700).unwrap();
        assert_eq!(account.bind(2), 300);
        assert_eq!(account.work_off(700), Some(700));
    }

    proptest! {
        /// A peer that keeps to its credit is never refused, never gets more than the window, and
        /// has enough of it for any message once everything is worked off.
        #[test]
        fn an_honest_peer_is_never_refused_and_never_starved(
            steps in prop::collection::vec((0..3_u8, 1..=WINDOW), 1..300),
        ) {
            let mut account = Account::new(WINDOW);
            let (mut epoch, mut credit) = (1, account.bind(1));
            let mut held = std::collections::VecDeque::new();
            for (step, cost) in steps {
                match step {
                    0 if cost <= credit => {
                        credit -= cost;
                        prop_assert_eq!(account.take_in(epoch, cost), Ok(()));
                        held.push_back(cost);
                    }
                    0 => {}
                    1 => {
                        let Some(cost) = held.pop_front() else { continue };
                        credit += account.work_off(cost).unwrap_or(0);
                    }
                    _lost => {
                        epoch += 1;
                        credit = account.bind(epoch);
                    }
                }
                let under_way = held.iter().sum::<u32>();
                prop_assert!(credit + under_way <= WINDOW, "{} and {}", credit, under_way);
            }
            for cost in held {
                credit += account.work_off(cost).unwrap_or(0);
            }
            prop_assert!(credit > WINDOW / 4 * 3, "{}", credit);
        }
    }
}
