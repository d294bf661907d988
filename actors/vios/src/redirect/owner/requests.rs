//! The requests of an owner's clients, in the order of their arrival.
//!
//! A request waits for every earlier one that it [collides](Request::collides) with, over all
//! connections of the client. Source: redirect protocol, rules 1, 10 and 13.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::super::hold::WriteId;
use super::super::moment::Moment;
use super::super::name::ClientId;
use crate::block::{Failure, Reply, Request};

/// A request, by the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// The same order among writes.
    pub(super) fn write(self) -> WriteId {
        WriteId(self.0)
    }
}

/// To whom an answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) client: ClientId,
    pub(super) tag: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    /// Nobody, if the client has left or was answered EIO.
    pub(super) asker: Option<Asker>,
    pub(super) request: Request,
    pub(super) arrived: Moment,
    /// Earlier requests that it waits for.
    waits_for: usize,
    /// It was sent in some session: it may take effect, or has.
    was_sent: bool,
    is_under_way: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Requests {
    pending: BTreeMap<Ticket, Pending>,
    /// Those that wait for nothing and are not under way.
    ready: BTreeSet<Ticket>,
    last: u64,
    bytes: u64,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes of data that they carry.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn add(&mut self, asker: Asker, request: Request, arrived: Moment) {
        self.last += 1;
        let ticket = Ticket(self.last);
        let earlier = self.pending.values();
        let waits_for = earlier.filter(|earlier| earlier.request.collides(&request)).count();
        self.bytes += payload(&request);
        if waits_for == 0 {
            self.ready.insert(ticket);
        }
        let asker = Some(asker);
        let pending =
            Pending { asker, request, arrived, waits_for, was_sent: false, is_under_way: false };
        self.pending.insert(ticket, pending);
    }

    /// The first one that waits for nothing, of those behind `after`.
    pub(super) fn next_ready(&self, after: Option<Ticket>) -> Option<(Ticket, &Pending)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let ticket = *self.ready.range((from, Bound::Unbounded)).next()?;
        self.pending.get(&ticket).map(|pending| (ticket, pending))
    }

    pub(super) fn peek(&self, ticket: Ticket) -> Option<&Pending> {
        self.pending.get(&ticket)
    }

    /// Whether this can be an answer to that request.
    pub(super) fn is_answer(&self, ticket: Ticket, outcome: &Result<Reply, Failure>) -> bool {
        match (self.pending.get(&ticket).map(|pending| &pending.request), outcome) {
            (Some(Request::Read { extent }), Ok(Reply::Data(data))) => {
                u32::try_from(data.len()) == Ok(extent.length)
            }
            (Some(Request::Status { .. }), Ok(Reply::Status(_))) | (_, Err(_)) => true,
            (Some(request), Ok(Reply::Done)) => {
                !matches!(request, Request::Read { .. } | Request::Status { .. })
            }
            (Some(_) | None, Ok(_)) => false,
        }
    }

    /// It is sent, and may take effect from now on.
    pub(super) fn send(&mut self, ticket: Ticket) {
        self.ready.remove(&ticket);
        if let Some(pending) = self.pending.get_mut(&ticket) {
            pending.was_sent = true;
            pending.is_under_way = true;
        }
    }

    /// The session is over: what was under way is to be sent again.
    pub(super) fn call_back(&mut self) {
        for (ticket, pending) in &mut self.pending {
            if std::mem::take(&mut pending.is_under_way) {
                self.ready.insert(*ticket);
            }
        }
    }

    /// It has come to its end: later ones need not wait for it any more.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let gone = self.pending.remove(&ticket)?;
        self.ready.remove(&ticket);
        self.bytes -= payload(&gone.request);
        for (later, pending) in self.pending.range_mut(ticket..) {
            if pending.request.collides(&gone.request) {
                pending.waits_for -= 1;
                if pending.waits_for == 0 {
                    self.ready.insert(*later);
                }
            }
        }
        Some(gone)
    }

    /// Nobody waits for answers of this client's requests any more.
    pub(super) fn forget_client(&mut self, client: ClientId) {
        for pending in self.pending.values_mut() {
            pending.asker.take_if(|asker| asker.client == client);
        }
    }

    /// When the oldest one that somebody waits for arrived.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.pending.values().find(|pending| pending.asker.is_some()).map(|found| found.arrived)
    }

    /// Takes the asker of each request that arrived at `until` or before; it is to be answered EIO.
    /// A change that was ever sent keeps its place, for it may take effect; the others end here.
    pub(super) fn give_up(&mut self, until: Moment) -> Vec<Asker> {
        let due = self.pending.iter().filter(|(_, pending)| pending.arrived <= until);
        let due: Vec<Ticket> = due.map(|(ticket, _)| *ticket).collect();
        let mut askers = Vec::new();
        for ticket in due {
            let Some(pending) = self.pending.get_mut(&ticket) else { continue };
            let Some(asker) = pending.asker.take() else { continue };
            askers.push(asker);
            if !(pending.was_sent && pending.request.is_change()) {
                self.remove(ticket);
            }
        }
        askers
    }

    /// All that are still to be answered; none is left.
    pub(super) fn take_askers(&mut self) -> Vec<Asker> {
        let pending = std::mem::take(&mut self.pending);
        *self = Self { last: self.last, ..Self::default() };
        pending.into_values().filter_map(|pending| pending.asker).collect()
    }

    #[cfg(debug_assertions)]
    pub(super) fn check(&self, are_sent: bool) {
        let bytes = self.pending.values().map(|pending| payload(&pending.request)).sum::<u64>();
        debug_assert_eq!(self.bytes, bytes);
        for (ticket, pending) in &self.pending {
            debug_assert!(are_sent || !pending.is_under_way, "under way without a session");
            let is_ready = pending.waits_for == 0 && !pending.is_under_way;
            debug_assert_eq!(self.ready.contains(ticket), is_ready);
        }
    }
}

fn payload(request: &Request) -> u64 {
    u64::try_from(request.payload()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::block::Extent;

    fn asker(tag: u64) -> Asker {
        Asker { client: ClientId(1), tag }
    }

    fn write(offset: u64, length: usize) -> Request {
        Request::Write { offset, data: Bytes::from(vec![7; length]), fua: false }
    }

    fn read(offset: u64, length: u32) -> Request {
        Request::Read { extent: Extent { offset, length } }
    }

    fn sent(requests: &mut Requests) -> Vec<u64> {
        let mut tickets = Vec::new();
        while let Some((ticket, _)) = requests.next_ready(None) {
            requests.send(ticket);
            tickets.push(ticket.0);
        }
        tickets
    }

    fn of(all: Vec<Request>) -> Requests {
        let mut requests = Requests::default();
        for (tag, request) in (1..).zip(all) {
            requests.add(asker(tag), request, Moment::START);
        }
        requests
    }

    #[test]
    fn a_request_waits_for_each_earlier_one_that_shares_bytes_if_either_is_a_change() {
        let mut requests = of(vec![write(0, 8), read(0, 4), read(4, 4), write(2, 4), read(8, 4)]);
        assert_eq!(sent(&mut requests), [1, 5]);
        requests.remove(Ticket(1));
        assert_eq!(sent(&mut requests), [2, 3], "reads go together");
        requests.remove(Ticket(2));
        assert!(sent(&mut requests).is_empty(), "the other read shares bytes too");
        requests.remove(Ticket(3));
        assert_eq!(sent(&mut requests), [4]);
    }

    #[test]
    fn what_was_under_way_goes_again_first_and_in_order() {
        let mut requests = of(vec![write(0, 4), write(2, 4), write(8, 4)]);
        assert_eq!(sent(&mut requests), [1, 3]);
        requests.call_back();
        assert_eq!(sent(&mut requests), [1, 3]);
    }

    #[test]
    fn a_change_that_was_sent_keeps_its_place_though_it_is_given_up() {
        let mut requests = of(vec![write(0, 4), read(8, 4), write(2, 4), Request::Flush]);
        sent(&mut requests);
        requests.call_back();
        assert_eq!(requests.give_up(Moment::START), [asker(1), asker(2), asker(3), asker(4)]);
        requests.add(asker(5), read(0, 8), Moment::START);
        assert_eq!(sent(&mut requests), [1], "neither the read nor the unsent write is left");
        assert_eq!(requests.remove(Ticket(1)).unwrap().asker, None);
        assert_eq!(sent(&mut requests), [5]);
    }
}
