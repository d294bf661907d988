//! What datagrams lead to.

use bytes::Bytes;
use foca::{Header, Message, State};
use vioduct_certs::identity::NodeName;

use super::Machine;
use crate::membership::frame::{Body, Frame, Gossip, Page};
use crate::membership::input::RefuseReason;
use crate::membership::member::{Key, MemberId, MemberState, Profile};

impl Machine {
    pub(super) fn receive(&mut self, from: &NodeName, datagram: &Bytes) {
        if !self.takes_part() {
            self.dropped.untimely += 1;
            return;
        }
        let frame = match Frame::read(datagram, self.config.datagram_bytes_max.into()) {
            Ok(frame) => frame,
            Err(_reason) => {
                self.dropped.malformed += 1;
                return;
            }
        };
        let sender = frame.sender();
        if sender.key != Key::from(from) || *from == self.own.node {
            self.dropped.forged += 1;
            return;
        }
        match frame.body {
            Body::Gossip(gossip) => self.gossip(sender, frame.active, *gossip),
            Body::Leave(_) => self.left(sender),
            Body::Ask(_, after) => self.show_page(&sender, after),
            Body::Page(_, page) => self.read_page(&sender, &page),
        }
    }

    /// Only the node itself says that it left; others pass that on.
    fn left(&mut self, sender: MemberId) {
        if self.table.judge(&sender.key, sender.incarnation).is_some() {
            self.dropped.refused += 1;
            return;
        }
        if !self.has_room_for(&[sender.key]) {
            return;
        }
        let profile = sender.profile.map(|profile| Profile { has_left: true, ..profile });
        self.apply(foca::Member::down(MemberId { profile, ..sender }), true);
    }

    fn gossip(&mut self, sender: MemberId, active: u16, gossip: Gossip) {
        let Header { dst, message, .. } = &gossip.header;
        let own = MemberId::new(&self.own);
        let is_announce = *message == Message::Announce;
        if dst.key != own.key || !is_announce && *dst != own {
            self.dropped.misaddressed += 1;
            return;
        }
        if let Some(reason) = self.table.judge(&sender.key, sender.incarnation) {
            self.turn_away(&sender, active, gossip, reason);
            return;
        }
        let of_own = gossip.updates.iter().map(|update| update.member.id());
        let latest = of_own.filter(|id| id.key == own.key).map(|id| id.incarnation).max();
        let is_superseded = latest.is_some_and(|latest| self.check_superseded(latest));
        if !is_superseded && self.has_room_for(&[sender.key]) {
            self.table.refresh(&sender);
            self.feed(sender, gossip);
        }
    }

    /// The word of a run that is refused counts for nothing, and makes room for nobody.
    fn turn_away(&mut self, sender: &MemberId, active: u16, gossip: Gossip, reason: RefuseReason) {
        self.dropped.refused += 1;
        let is_undead = gossip.header.message == Message::TurnUndead;
        if is_undead && !self.yields_to(sender, active, reason) {
            self.send_word_of_death(sender);
        } else {
            // foca sends the same; and if the sender says it of this node, it is believed.
            let bare = gossip.only(|_| false);
            self.call(|swim, edge| swim.handle_data(bare.bytes(), edge));
        }
        if self.takes_part() {
            self.refuse(sender, reason);
        }
    }

    /// Hands a message to foca, without the news for which there is no room.
    fn feed(&mut self, sender: MemberId, gossip: Gossip) {
        let mut newcomers: Vec<Key> = vec![sender.key];
        let gossip = gossip.only(|member| {
            let key = member.id().key;
            if key == Key::from(&self.own.node) || self.table.find(&key).is_some() {
                return true;
            }
            if !newcomers.contains(&key) {
                newcomers.push(key);
            }
            let has_room = self.has_room_for(&newcomers);
            if !has_room {
                newcomers.retain(|newcomer| *newcomer != key);
            }
            has_room
        });
        let alive = foca::Member::new(sender, gossip.header.src_incarnation, State::Alive);
        let updates = gossip.updates.iter().map(|update| &update.member).chain([&alive]);
        let look: Vec<(Key, bool)> = updates
            .filter(|member| self.table.is_news(member))
            .map(|member| (member.id().key, member.id().profile.is_some_and(|p| p.has_left)))
            .collect();
        if !self.call(|swim, edge| swim.handle_data(gossip.bytes(), edge)) {
            self.dropped.rejected += 1;
        }
        for (key, has_left) in look {
            self.observe(key, has_left);
        }
    }

    fn show_page(&mut self, sender: &MemberId, after: Option<Key>) {
        if self.table.judge(&sender.key, sender.incarnation).is_some() {
            self.dropped.refused += 1;
            return;
        }
        let own = MemberId::new(&self.own);
        let members = self.table.active_after(after).filter(|id| id.key != sender.key);
        let bytes_max = self.config.datagram_bytes_max.into();
        let page = Frame::page(self.active(), &own, after.as_ref(), members, bytes_max);
        self.send(sender, page);
    }

    fn read_page(&mut self, sender: &MemberId, page: &Page) {
        if self.table.find(&sender.key).is_none_or(|known| known.state == MemberState::Down) {
            self.dropped.refused += 1;
            return;
        }
        for id in &page.members {
            if id.key == Key::from(&self.own.node) {
                if self.check_superseded(id.incarnation) {
                    return;
                }
            } else if self.table.find(&id.key).is_none() && self.has_room_for(&[id.key]) {
                self.apply(foca::Member::alive(*id), false);
            }
        }
        let last = page.members.last().filter(|_| page.has_more).map(|id| id.key);
        if let Some(next) = self.walk.turn(self.now, page.after, last) {
            self.ask_page(sender, Some(next));
        }
    }

    fn ask_page(&mut self, of: &MemberId, after: Option<Key>) {
        let ask = Frame::ask(self.active(), &MemberId::new(&self.own), after.as_ref());
        self.send(of, ask);
    }

    pub(super) fn walk_on(&mut self) {
        let Some(after) = self.walk.ask(self.now) else { return };
        let which = self.chance.below(self.active());
        let of = self.table.active_after(None).nth(which);
        if let Some(of) = of {
            self.ask_page(&of, after);
        }
    }

    /// Two nodes hold each other for down, after a time in which they could not hear each other.
    /// The one that has fewer members at its side gives in; of two equals, the later name.
    fn yields_to(&self, sender: &MemberId, active: u16, reason: RefuseReason) -> bool {
        let own = u16::try_from(self.active()).unwrap_or(u16::MAX);
        let is_mutual = matches!(reason, RefuseReason::Quarantined { .. });
        let is_fewer = own < active || own == active && sender.key < Key::from(&self.own.node);
        is_mutual && is_fewer
    }
}
