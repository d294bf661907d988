//! Everybody that this node knows of, as it was last told to whoever listens.

use std::collections::BTreeMap;
use std::ops::Bound;

use foca::State;

use super::input::{DownReason, MemberEvent, RefuseReason};
use super::member::{Key, Member, MemberId, MemberState, Profile};
use super::moment::Moment;

/// What is known of one name. Its latest incarnation alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) incarnation: u64,
    pub(super) profile: Profile,
    pub(super) state: MemberState,
    since: Moment,
}

impl Record {
    fn member(&self, key: Key) -> Member {
        let Profile { addr, roles, .. } = self.profile;
        Member { node: key.to_name(), incarnation: self.incarnation, addr, roles }
    }
}

/// By name, so that replays agree. foca holds the truth; what differs from it is an event.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: BTreeMap<Key, Record>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn find(&self, key: &Key) -> Option<&Record> {
        self.records.get(key)
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.records.remove(key);
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (Member, MemberState)> {
        self.records.iter().map(|(key, record)| (record.member(*key), record.state))
    }

    /// Those that are up and follow this name, in order of their names.
    pub(super) fn active_after(&self, after: Option<Key>) -> impl Iterator<Item = MemberId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let records = self.records.range((from, Bound::Unbounded));
        let active = records.filter(|(_, record)| record.state != MemberState::Down);
        active.map(|(key, record)| MemberId {
            key: *key,
            incarnation: record.incarnation,
            profile: Some(record.profile),
        })
    }

    /// The one that has been down the longest.
    pub(super) fn longest_down(&self) -> Option<MemberId> {
        let down = self.records.iter().filter(|(_, record)| record.state == MemberState::Down);
        let (key, record) = down.min_by_key(|(_, record)| record.since)?;
        Some(MemberId { key: *key, incarnation: record.incarnation, profile: None })
    }

    /// Why this run of a node is refused, if it is.
    pub(super) fn judge(&self, key: &Key, incarnation: u64) -> Option<RefuseReason> {
        let record = self.find(key)?;
        let current = record.incarnation;
        if record.state == MemberState::Down && incarnation <= current {
            return Some(RefuseReason::Quarantined { down: current });
        }
        (incarnation < current).then_some(RefuseReason::Superseded { current })
    }

    /// Whether this piece of news may say what is not known.
    pub(super) fn is_news(&self, member: &foca::Member<MemberId>) -> bool {
        let id = member.id();
        self.find(&id.key).is_none_or(|record| {
            id.incarnation > record.incarnation
                || id.incarnation == record.incarnation && state(member.state()) != record.state
        })
    }

    /// What a member says of itself counts more than what others say.
    pub(super) fn refresh(&mut self, id: &MemberId) {
        let (Some(record), Some(profile)) = (self.records.get_mut(&id.key), id.profile) else {
            return;
        };
        if record.incarnation == id.incarnation && record.state != MemberState::Down {
            record.profile = profile;
        }
    }

    /// Takes over what foca holds of a member, and tells what is new about it: two events at most.
    pub(super) fn observe(
        &mut self,
        now: Moment,
        seen: &foca::Member<MemberId>,
        has_left: bool,
    ) -> Vec<MemberEvent> {
        let &MemberId { key, incarnation, profile } = seen.id();
        let old = self.records.get(&key).copied();
        // Only a later run can have moved: a run's own word was taken over when it came.
        let known = old.filter(|old| old.incarnation == incarnation).map(|old| old.profile);
        let Some(profile) = known.or(profile) else { return Vec::new() };
        let state = state(seen.state());
        let is_same = old.is_some_and(|old| (old.incarnation, old.state) == (incarnation, state));
        if is_same {
            return Vec::new();
        }
        let record = Record { incarnation, profile, state, since: now };
        self.records.insert(key, record);
        events(key, old, record, has_left)
    }
}

fn state(state: State) -> MemberState {
    match state {
        State::Alive => MemberState::Alive,
        State::Suspect => MemberState::Suspect,
        State::Down => MemberState::Down,
    }
}

fn events(key: Key, old: Option<Record>, new: Record, has_left: bool) -> Vec<MemberEvent> {
    let incarnation = new.incarnation;
    let node = || key.to_name();
    let was_up = old.filter(|old| old.state != MemberState::Down);
    let suspect = || MemberEvent::Suspect { node: node(), incarnation };
    let mut events = Vec::new();
    match (old, new.state) {
        (_, MemberState::Down) => {
            let reason = if has_left { DownReason::Left } else { DownReason::Failed };
            // Of one that was never up nobody was told.
            events.extend(was_up.map(|_| MemberEvent::Down { node: node(), incarnation, reason }));
        }
        (None, MemberState::Alive) => events.push(MemberEvent::Up(new.member(key))),
        (None, MemberState::Suspect) => {
            events.extend([MemberEvent::Up(new.member(key)), suspect()]);
        }
        (Some(old), MemberState::Alive) if old.incarnation == incarnation => {
            events.push(MemberEvent::Refuted { node: node(), incarnation });
        }
        (Some(old), MemberState::Suspect) if old.incarnation == incarnation => {
            events.push(suspect());
        }
        (Some(old), MemberState::Alive | MemberState::Suspect) => {
            let (member, old) = (new.member(key), old.incarnation);
            events.push(MemberEvent::Returned { member, old });
            if new.state == MemberState::Suspect {
                events.push(suspect());
            }
        }
    }
    events
}
