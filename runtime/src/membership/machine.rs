//! The machine: see the front page of [`membership`](super).

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;

use bytes::{BufMut, Bytes};
use core::net::SocketAddr;
use foca::{Codec as _, Foca, Header, Message, NoCustomBroadcast, State, Timer};
use vioduct_certs::identity::NodeName;

use super::chance::Chance;
use super::codec::Codec;
use super::config::{MembershipConfig, MembershipConfigError};
use super::edge::{Edge, Timers};
use super::frame::{Frame, PREFIX_BYTES};
use super::input::{
    Dropped, Effect, ExpelReason, Input, MemberEvent, RefuseReason, SEEDS_MAX, Seed,
};
use super::member::{Key, Member, MemberId, MemberState, Profile};
use super::moment::Moment;
use super::table::Table;
use super::walk::Walk;

mod receiving;

type Swim = Foca<MemberId, Codec, Chance, NoCustomBroadcast>;

/// Whether this node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not yet.
    Apart,
    /// Yes; while it knows nobody, it asks its seeds at `ask_at`.
    Member { ask_at: Option<Moment> },
    /// Not any more, by its own will.
    Left,
    /// Not any more, since it counts as down.
    Expelled,
}

/// The membership as one node sees it. A pure machine: [`handle`](Self::handle) one input, then
/// [`poll`](Self::poll) until there is no effect left, then wait for the next input or for the
/// [`deadline`](Self::deadline).
pub struct Machine {
    own: Member,
    config: MembershipConfig,
    phase: Phase,
    now: Moment,
    seeds: Vec<Seed>,
    swim: Swim,
    scale: NonZeroU32,
    chance: Chance,
    timers: Timers,
    table: Table,
    walk: Walk,
    /// Whether no member was known after the last input.
    is_alone: bool,
    effects: VecDeque<Effect>,
    dropped: Dropped,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, phase, now, dropped, .. } = self;
        f.debug_struct("Machine")
            .field("own", own)
            .field("phase", phase)
            .field("now", now)
            .field("active", &self.swim.num_members())
            .field("dropped", dropped)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// A node that takes no part yet. All random choices come from `seed`.
    ///
    /// # Errors
    /// [`MembershipConfigError`] names the first setting that is out of range.
    pub fn new(
        own: Member,
        config: MembershipConfig,
        seed: u64,
    ) -> Result<Self, MembershipConfigError> {
        config.validate()?;
        let mut chance = Chance::from_seed(seed);
        let walk = Walk::new(config.join_period);
        let swim = swim(&own, &config, &mut chance);
        Ok(Self {
            own,
            config,
            phase: Phase::Apart,
            now: Moment::START,
            seeds: Vec::new(),
            swim,
            scale: NonZeroU32::MIN,
            chance,
            timers: Timers::default(),
            table: Table::default(),
            walk,
            is_alone: true,
            effects: VecDeque::new(),
            dropped: Dropped::default(),
        })
    }

    /// Takes one input. `now` never runs backwards; an earlier one counts as the latest.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.wake(now);
        match input {
            Input::JoinAsked { seeds } => self.join(seeds),
            Input::LeaveAsked => self.leave(),
            Input::DatagramReceived { from, datagram } => self.receive(&from, &datagram),
            Input::IncarnationSeen { node, incarnation } => self.sighted(&node, incarnation),
            Input::Renewed { incarnation } => self.renew(incarnation),
            Input::TimePassed => {}
        }
        // After the input: an answer that is here counts, be it late.
        self.run_due();
        self.settle();
        debug_assert!(self.table.len() <= self.members_max(), "more members than there is room");
        debug_assert!(self.timers.len() <= self.timers_max(), "foca's timers pile up");
    }

    /// The next effect; `None` when all are taken. Those of one input are at most two events for
    /// each update that fits a datagram, and a datagram for each seed, each suspect of this node's
    /// and each member that one probe, one round of gossip or one leave is sent to.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::TimePassed`] is due; `None` for never.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let ask_at = match self.phase {
            Phase::Member { ask_at } => ask_at,
            Phase::Apart | Phase::Left | Phase::Expelled => None,
        };
        [ask_at, self.timers.deadline(), self.walk.deadline()].into_iter().flatten().min()
    }

    /// This node, in its present incarnation.
    #[must_use]
    pub fn own(&self) -> &Member {
        &self.own
    }

    /// All other nodes that are known, those that are down too, in order of their names.
    pub fn members(&self) -> impl Iterator<Item = (Member, MemberState)> {
        self.table.members()
    }

    /// How many other nodes are members, those under suspicion counted.
    #[must_use]
    pub fn active(&self) -> usize {
        self.swim.num_members()
    }

    /// What was thrown away so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn members_max(&self) -> usize {
        usize::try_from(self.config.members_max).unwrap_or(usize::MAX)
    }

    /// A wait of each kind, and the suspicions that one probe for each period can begin.
    fn timers_max(&self) -> usize {
        let longest = self.config.suspicion(65_536).as_nanos();
        let periods = longest.checked_div(self.config.probe_period.as_nanos()).unwrap_or(0);
        usize::try_from(periods).unwrap_or(usize::MAX).saturating_add(8)
    }

    /// Time in which this node did not run says nothing about others: what it waits for is put off
    /// by as much. Else a node that was stopped for a while would declare others down before it
    /// read what they had sent meanwhile.
    fn wake(&mut self, now: Moment) {
        self.now = self.now.max(now);
        let late = self.timers.deadline().map(|due| self.now.since(due)).unwrap_or_default();
        if late > self.config.probe_period {
            self.timers.delay(late);
        }
    }

    fn join(&mut self, mut seeds: Vec<Seed>) {
        seeds.retain(|seed| seed.node != self.own.node);
        seeds.truncate(SEEDS_MAX);
        self.seeds = seeds;
        match self.phase {
            Phase::Apart | Phase::Member { .. } => {
                self.phase = Phase::Member { ask_at: Some(self.now) };
            }
            Phase::Left | Phase::Expelled => {}
        }
    }

    fn leave(&mut self) {
        if let Phase::Member { .. } = self.phase {
            let mut others: Vec<MemberId> = self.table.active_after(None).collect();
            for _ in 0..self.config.indirect_probes {
                if others.is_empty() {
                    break;
                }
                let other = others.swap_remove(self.chance.below(others.len()));
                let word = Frame::leave(self.active(), &MemberId::new(&self.own));
                self.send(&other, word);
            }
        }
        self.phase = Phase::Left;
        self.rest();
    }

    /// Begins anew, and believes nothing of what it knew: while it counted as down, it had perhaps
    /// declared all others down, and would tell. It only remembers where to ask.
    fn renew(&mut self, incarnation: u64) {
        if incarnation <= self.own.incarnation {
            return;
        }
        let known = self.table.members().map(|(member, _)| member);
        let known: Vec<Seed> = known.map(|m| Seed { node: m.node, addr: m.addr }).collect();
        self.own.incarnation = incarnation;
        self.swim = swim(&self.own, &self.config, &mut self.chance);
        self.scale = NonZeroU32::MIN;
        self.table = Table::default();
        self.rest();
        match self.phase {
            Phase::Apart => {}
            Phase::Member { .. } | Phase::Left | Phase::Expelled => {
                self.phase = Phase::Member { ask_at: Some(self.now) };
                self.remember(known);
            }
        }
    }

    /// Nodes to ask beside the seeds, as far as there is room for them.
    fn remember(&mut self, mut known: Vec<Seed>) {
        known.retain(|known| self.seeds.iter().all(|seed| seed.node != known.node));
        while self.seeds.len() < SEEDS_MAX && !known.is_empty() {
            self.seeds.push(known.swap_remove(self.chance.below(known.len())));
        }
    }

    /// An incarnation that a handshake told is the node's own word.
    fn sighted(&mut self, node: &NodeName, incarnation: u64) {
        let key = Key::from(node);
        if !self.takes_part() {
            return;
        }
        if *node == self.own.node {
            self.check_superseded(incarnation);
            return;
        }
        let id = MemberId { key, incarnation, profile: None };
        if let Some(reason) = self.table.judge(&key, incarnation) {
            self.send_word_of_death(&id);
            self.refuse(&id, reason);
            return;
        }
        let Some(record) = self.table.find(&key) else { return };
        if incarnation == record.incarnation {
            return;
        }
        let profile = Some(Profile { has_left: false, ..record.profile });
        self.apply(foca::Member::alive(MemberId { profile, ..id }), true);
    }

    fn check_superseded(&mut self, by: u64) -> bool {
        let is_superseded = by > self.own.incarnation;
        if is_superseded {
            self.expel(ExpelReason::Superseded { by });
        }
        is_superseded
    }

    fn expel(&mut self, reason: ExpelReason) {
        if self.takes_part() {
            self.phase = Phase::Expelled;
            self.rest();
            self.effects.push_back(Effect::Tell(MemberEvent::Expelled(reason)));
        }
    }

    fn rest(&mut self) {
        self.timers.clear();
        self.walk.stop();
        self.is_alone = true;
    }

    fn takes_part(&self) -> bool {
        matches!(self.phase, Phase::Member { .. })
    }

    /// Whether all of these can be known at once; who has been down for long makes room.
    fn has_room_for(&mut self, names: &[Key]) -> bool {
        loop {
            let more = names.iter().filter(|key| self.table.find(key).is_none()).count();
            if more == 0 || self.table.len() + more <= self.members_max() {
                return true;
            }
            let Some(forgotten) = self.table.longest_down() else {
                self.dropped.crowded += 1;
                return false;
            };
            self.table.remove(&forgotten.key);
            self.call(|swim, edge| swim.handle_timer(Timer::RemoveDown(forgotten), edge));
        }
    }

    /// Tells foca, which passes it on if it is news to others too.
    fn apply(&mut self, member: foca::Member<MemberId>, is_news: bool) {
        let id = *member.id();
        self.call(|swim, edge| swim.apply_many(std::iter::once(member), is_news, edge));
        self.observe(id.key, id.profile.is_some_and(|profile| profile.has_left));
    }

    fn run_due(&mut self) {
        while let Some(timer) = self.timers.take_due(self.now) {
            if let Timer::ChangeSuspectToDown { member_id, incarnation, .. } = &timer
                && !self.is_suspect(*member_id, *incarnation)
            {
                continue;
            }
            if let Timer::ProbeRandomMember(_) = timer {
                self.warn_suspects();
            }
            let is_fine = self.call(|swim, edge| swim.handle_timer(timer, edge));
            debug_assert!(is_fine, "foca found its timers out of order");
        }
        self.walk_on();
        if let Phase::Member { ask_at: Some(at) } = self.phase
            && at <= self.now
        {
            self.phase = Phase::Member { ask_at: None };
            self.ask_seeds();
        }
    }

    /// False for a suspicion that was refuted. foca 2.0.0 would leave the member up, and yet send
    /// it word that it is down (`Timer::ChangeSuspectToDown` in its `handle_timer`): it would go.
    fn is_suspect(&self, id: MemberId, refutations: u16) -> bool {
        let suspect = foca::Member::new(id, refutations, State::Suspect);
        self.swim.iter_membership_state().any(|member| *member == suspect)
    }

    /// Tells those whom this node is about to declare down, once a period, and asks for an answer.
    /// foca's word of a suspicion goes out a few times within a second or two. If this node was cut
    /// off just then, the suspect would never learn of it, and die of this node's trouble.
    fn warn_suspects(&mut self) {
        let mut suspicions: Vec<(MemberId, u16)> = self.timers.suspicions().collect();
        suspicions.dedup();
        for (id, refutations) in suspicions {
            if self.is_suspect(id, refutations) {
                let suspect = foca::Member::new(id, refutations, State::Suspect);
                self.send_message(&id, Message::Ping(0), Some(&suspect));
            }
        }
    }

    fn ask_seeds(&mut self) {
        for seed in self.seeds.clone() {
            let roles = vioduct_certs::identity::Roles::none();
            let profile = Profile { addr: seed.addr, roles, has_left: false };
            let key = Key::from(&seed.node);
            let id = MemberId { key, incarnation: 0, profile: Some(profile) };
            self.call(|swim, edge| swim.announce(id, edge));
        }
    }

    /// What follows from the number of members.
    fn settle(&mut self) {
        let Phase::Member { ask_at } = &mut self.phase else { return };
        let active = self.swim.num_members();
        if active > 0 || self.seeds.is_empty() {
            *ask_at = None;
        } else {
            ask_at.get_or_insert(self.now.after(self.config.join_period));
        }
        let was_alone = std::mem::replace(&mut self.is_alone, active == 0);
        match (was_alone, self.is_alone) {
            (true, false) => self.walk.begin(self.now),
            (false, true) => self.walk.stop(),
            (true, true) | (false, false) => {}
        }
        let nodes = u32::try_from(active).unwrap_or(u32::MAX).saturating_add(1);
        let scale = nodes.checked_next_power_of_two().and_then(NonZeroU32::new);
        let scale = scale.unwrap_or(NonZeroU32::MAX);
        if scale != self.scale {
            self.scale = scale;
            let config = self.config.foca(scale, packet_bytes(&self.config));
            let is_fine = self.swim.set_config(config).is_ok();
            debug_assert!(is_fine, "only what may change was changed");
        }
    }

    /// Calls foca, and takes over what came of it. False when it turned the call down.
    fn call(
        &mut self,
        call: impl FnOnce(&mut Swim, &mut Edge<'_>) -> Result<(), foca::Error>,
    ) -> bool {
        let mut edge = Edge::new(self.now, &mut self.timers);
        let is_fine = call(&mut self.swim, &mut edge).is_ok();
        let Edge { sent, touched, is_defunct, .. } = edge;
        for (to, bytes) in sent {
            let datagram = Frame::gossip(self.active(), &bytes);
            self.send(&to, datagram);
        }
        for (key, has_left) in touched {
            self.observe(key, has_left);
        }
        if is_defunct {
            self.expel(ExpelReason::DeclaredDown);
        }
        is_fine
    }

    /// Tells what is new about a member.
    fn observe(&mut self, key: Key, has_left: bool) {
        if key == Key::from(&self.own.node) {
            return;
        }
        let found = self.swim.iter_membership_state().find(|member| member.id().key == key);
        let Some(seen) = found.cloned() else { return };
        let events = self.table.observe(self.now, &seen, has_left);
        self.effects.extend(events.into_iter().map(Effect::Tell));
    }

    fn refuse(&mut self, id: &MemberId, reason: RefuseReason) {
        let node = id.key.to_name();
        self.effects.push_back(Effect::Refuse { node, incarnation: id.incarnation, reason });
    }

    /// As foca does by itself for whoever it holds for down and hears.
    fn send_word_of_death(&mut self, to: &MemberId) {
        self.send_message(to, Message::TurnUndead, None);
    }

    /// A message as foca would write it, but that it alone knows how often this node refuted: with
    /// none, nobody learns anything.
    fn send_message(
        &mut self,
        to: &MemberId,
        message: Message<MemberId>,
        update: Option<&foca::Member<MemberId>>,
    ) {
        let src = MemberId::new(&self.own);
        let header = Header { src, src_incarnation: 0, dst: *to, message };
        let mut bytes = Vec::new();
        let mut is_fine = Codec.encode_header(&header, &mut bytes).is_ok();
        if let Some(update) = update {
            bytes.put_u16(1);
            is_fine &= Codec.encode_member(update, &mut bytes).is_ok();
        }
        debug_assert!(is_fine, "a vector has room");
        let datagram = Frame::gossip(self.active(), &bytes);
        self.send(to, datagram);
    }

    /// Members are found where they said they are, seeds where the operator said. Nobody else's
    /// word makes this node dial: it may come from a peer that means harm.
    fn send(&mut self, to: &MemberId, datagram: Bytes) {
        let known: Option<SocketAddr> = self.table.find(&to.key).map(|record| record.profile.addr);
        let Some(addr) = known.or(to.profile.map(|profile| profile.addr)) else {
            self.dropped.unknown_target += 1;
            return;
        };
        self.effects.push_back(Effect::Send { to: to.key.to_name(), addr, datagram });
    }
}

/// foca, knowing nobody.
fn swim(own: &Member, config: &MembershipConfig, chance: &mut Chance) -> Swim {
    let foca_config = config.foca(NonZeroU32::MIN, packet_bytes(config));
    Foca::new(MemberId::new(own), foca_config, chance.fork(), Codec)
}

/// What foca may fill of a datagram.
fn packet_bytes(config: &MembershipConfig) -> usize {
    usize::from(config.datagram_bytes_max).saturating_sub(PREFIX_BYTES)
}
