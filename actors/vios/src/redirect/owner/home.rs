//! Going home: an owner that enters by a VIOS of another CEC, because none of its own was left,
//! moves to one of its own once that has been there for long enough. Source: redirect protocol,
//! rule 11.

use std::collections::BTreeMap;

use super::super::moment::Moment;
use super::super::name::ViosId;
use super::moving::Errand;
use super::{ENTRIES_MAX, Owner, Phase};

/// The entries that are there, while some are of the own CEC and some are not; at most
/// [`ENTRIES_MAX`].
pub(super) type Homes = BTreeMap<ViosId, Home>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Home {
    /// Since when it has been there, as far as is known.
    since: Option<Moment>,
    /// How often in a row going there did not last: each makes the next wait twice as long.
    setbacks: u32,
    /// When the owner went there last.
    gone_at: Option<Moment>,
}

impl Owner {
    /// Whether requests enter by a VIOS of another CEC though the own one has some.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.attachment.near > 0 && self.at >= self.attachment.near
    }

    pub(super) fn entry_found(&mut self, now: Moment, entry: ViosId) {
        let entries = &self.attachment.entries;
        let has_others = (1..entries.len()).contains(&self.attachment.near);
        if has_others && entries.contains(&entry) {
            self.homes.entry(entry).or_default().since.get_or_insert(now);
        }
    }

    /// It is not there any more: nobody goes to it, or is on the way.
    pub(super) fn forget_home(&mut self, entry: ViosId) {
        if let Some(home) = self.homes.get_mut(&entry) {
            home.since = None;
        }
        if self.errand.leads_to(entry) {
            self.errand.restart();
        }
    }

    /// The entries are others: what is known of those that stay is kept.
    pub(super) fn keep_homes(&mut self) {
        let entries = &self.attachment.entries;
        debug_assert!(entries.len() <= ENTRIES_MAX);
        self.homes.retain(|entry, _home| entries.contains(entry));
    }

    /// The entry in use is given up. If it was gone to not long ago, the next time comes later.
    pub(super) fn leave_entry(&mut self, now: Moment) {
        let longest = self.limits.home_after_max;
        let Some(home) = self.entry().and_then(|entry| self.homes.get_mut(&entry)) else { return };
        home.since = home.since.map(|_before| now);
        home.setbacks = match home.gone_at.take() {
            Some(at) if now.since(at) < longest => home.setbacks.saturating_add(1),
            Some(_long_ago) => 0,
            None => home.setbacks,
        };
    }

    /// When it is time to go home.
    pub(super) fn home_at(&self) -> Option<Moment> {
        self.next_home().map(|(at, _entry)| at)
    }

    /// Begins to move home if it is time.
    pub(super) fn go_home(&mut self, now: Moment) {
        if let Some((_at, entry)) = self.next_home().filter(|(at, _entry)| *at <= now) {
            self.errand = Errand::to(entry);
        }
    }

    /// The entry of the own CEC that may be gone to first, the preferred one of several.
    fn next_home(&self) -> Option<(Moment, ViosId)> {
        if !self.is_away() || self.phase != Phase::Serving || self.errand != Errand::None {
            return None;
        }
        let near = self.attachment.entries.iter().take(self.attachment.near);
        let due = near.filter_map(|entry| {
            let Home { since, setbacks, .. } = self.homes.get(entry)?;
            let factor = 1_u32.checked_shl(*setbacks).unwrap_or(u32::MAX);
            let wait = self.limits.home_after.saturating_mul(factor);
            Some(((*since)?.after(wait.min(self.limits.home_after_max)), *entry))
        });
        due.min_by_key(|(at, _entry)| *at)
    }

    /// The session was left in order; the next one goes by this entry.
    pub(super) fn enter_by(&mut self, now: Moment, entry: ViosId) {
        let mut entries = self.attachment.entries.iter();
        if let Some(at) = entries.position(|other| *other == entry) {
            self.at = at;
        }
        if let Some(home) = self.homes.get_mut(&entry) {
            home.gone_at = Some(now);
        }
    }
}
