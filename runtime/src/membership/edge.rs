//! What foca calls: its messages and timers are put by for the machine.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use foca::{Notification, Timer};

use super::member::{Key, MemberId};
use super::moment::Moment;

/// Everything that foca is waiting for. At most one wait of each kind is under way, and a suspicion
/// for each period of the longest suspicion: what a state of foca's that is over has left is taken
/// out at once, so that a peer which makes it begin and end cannot make them pile up.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waits: BTreeMap<(Moment, u64), Timer<MemberId>>,
    armed: u64,
}

impl Timers {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.waits.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn take_due(&mut self, now: Moment) -> Option<Timer<MemberId>> {
        let first = self.waits.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn clear(&mut self) {
        self.waits.clear();
    }

    /// Lets everything happen later.
    pub(super) fn delay(&mut self, by: Duration) {
        let waits = std::mem::take(&mut self.waits);
        self.waits = waits
            .into_iter()
            .map(|((at, number), timer)| ((at.after(by), number), timer))
            .collect();
    }

    /// Whom this node itself is about to declare down, with the refutations it knew of.
    pub(super) fn suspicions(&self) -> impl Iterator<Item = (MemberId, u16)> {
        self.waits.values().filter_map(|timer| match timer {
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                Some((*member_id, *incarnation))
            }
            Timer::ProbeRandomMember(_)
            | Timer::SendIndirectProbe { .. }
            | Timer::PeriodicAnnounce(_)
            | Timer::PeriodicAnnounceDown(_)
            | Timer::PeriodicGossip(_)
            | Timer::RemoveDown(_) => None,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.waits.len()
    }

    fn arm(&mut self, at: Moment, timer: Timer<MemberId>) {
        self.armed += 1;
        self.waits.insert((at, self.armed), timer);
    }
}

/// What foca did in one call.
#[derive(Debug)]
pub(super) struct Edge<'a> {
    now: Moment,
    timers: &'a mut Timers,
    pub(super) sent: Vec<(MemberId, Bytes)>,
    /// Members whose state may be another one now, and whether they took their leave.
    pub(super) touched: Vec<(Key, bool)>,
    /// This node itself is held for down.
    pub(super) is_defunct: bool,
}

impl<'a> Edge<'a> {
    pub(super) fn new(now: Moment, timers: &'a mut Timers) -> Self {
        Self { now, timers, sent: Vec::new(), touched: Vec::new(), is_defunct: false }
    }
}

impl foca::Runtime<MemberId> for Edge<'_> {
    fn notify(&mut self, notification: Notification<'_, MemberId>) {
        match notification {
            Notification::MemberUp(id) | Notification::Rename(_, id) => {
                self.touched.push((id.key, false));
            }
            Notification::MemberDown(id) => {
                let has_left = id.profile.is_some_and(|profile| profile.has_left);
                self.touched.push((id.key, has_left));
            }
            Notification::Idle => self.timers.clear(),
            Notification::Defunct => {
                self.timers.clear();
                self.is_defunct = true;
            }
            Notification::Active | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: MemberId, data: &[u8]) {
        self.sent.push((to, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, timer: Timer<MemberId>, after: Duration) {
        if let Timer::ChangeSuspectToDown { member_id, .. } = &timer {
            self.touched.push((member_id.key, false));
        }
        self.timers.arm(self.now.after(after), timer);
    }
}
