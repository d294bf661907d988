//! Rule 12: an owner before a storage that cannot fence. Requests of connections that are gone land
//! at any moment of the life that the storage declares for them, up to its last tick.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use vioduct_vios::block::{Extent, Request};
use vioduct_vios::redirect::hold::Fence;
use vioduct_vios::redirect::message::{Call, Why, Word};
use vioduct_vios::redirect::name::{ClientId, Holder, Identity, Life, LuId, OwnerId, ViosId};
use vioduct_vios::redirect::owner::{Attachment, Effect, Input, Owner};
use vioduct_vios::redirect::{Epoch, Moment};

use super::disk::Disk;
use super::oracle::{Broken, Oracle};
use super::plan::{MS, Plan};

const ENTRY: ViosId = ViosId(0);
const IDENTITY: Identity = Identity { volume: 1, boot: 1, losses: 0 };
/// Of the storage and its exits; what the owner is told may differ.
const LEASE: Duration = Duration::from_millis(3);
const REQUEST_LIFE: Duration = Duration::from_millis(7);

/// A request at the storage.
#[derive(Clone, Debug)]
struct Landing {
    epoch: Epoch,
    no: u64,
    request: Request,
    /// Its connection is gone: it may land up to this moment, and is not answered.
    until: Option<Moment>,
}

struct Unfenced {
    owner: Owner,
    now: Moment,
    disk: Disk,
    oracle: Oracle,
    landing: Vec<Landing>,
    open: Option<Epoch>,
    rng: StdRng,
    tag: u64,
    /// An attempt was sent while an older, different one that may land after it shared bytes (P10).
    is_out_of_hold: bool,
}

impl Unfenced {
    fn new(seed: u64, fence: Fence) -> Self {
        let mut limits = Plan::small(Vec::new()).owner;
        if seed % 2 == 1 {
            limits.hold_max = 5 * MS;
        }
        let attachment = Attachment {
            lu: LuId(1),
            owner: OwnerId(1),
            holder: Holder(1),
            entries: vec![ENTRY],
            near: 1,
            is_client_new: false,
            fence,
        };
        let mut unfenced = Self {
            owner: Owner::new(limits, attachment, seed).unwrap(),
            now: Moment::START,
            disk: Disk::new(3, std::collections::BTreeMap::new(), IDENTITY),
            oracle: Oracle::new(3),
            landing: Vec::new(),
            open: None,
            rng: StdRng::seed_from_u64(seed),
            tag: 0,
            is_out_of_hold: false,
        };
        unfenced.input(Input::Started);
        unfenced
    }

    fn input(&mut self, input: Input) {
        self.owner.handle(self.now, input);
        while let Some(effect) = self.owner.poll() {
            match effect {
                Effect::Send { call, .. } => self.arrive(call),
                Effect::Answer { tag, outcome, .. } => {
                    self.oracle.answer(0, tag, &outcome, &self.disk);
                }
                Effect::HangUp | Effect::Tell(_) => {}
            }
        }
        if self.open.is_some() && self.owner.is_waiting() {
            // The owner has given the session up, and the exit's lease runs out.
            self.abort_at(self.now.after(LEASE));
            self.open = None;
        }
    }

    fn hear(&mut self, word: Word) {
        self.input(Input::Heard { entry: ENTRY, word });
    }

    fn arrive(&mut self, call: Call) {
        let is_open = self.open == Some(call.epoch());
        match call {
            Call::Open { epoch, .. } => {
                // The exit of the last session hears no more of the owner.
                self.abort_at(self.now.after(LEASE));
                self.open = Some(epoch);
            }
            Call::Request { epoch, no, request } if is_open => self.receive(epoch, no, request),
            Call::Flush { epoch, no, .. } if is_open => self.receive(epoch, no, Request::Flush),
            Call::Request { .. } | Call::Flush { .. } | Call::Close { .. } | Call::Stay { .. } => {}
        }
    }

    fn receive(&mut self, epoch: Epoch, no: u64, request: Request) {
        let is_older =
            |other: &Landing| other.until.is_some() && value(&other.request) < value(&request);
        let may_land = |other: &Landing| is_older(other) && other.request.collides(&request);
        if request.is_change() && self.landing.iter().any(may_land) {
            self.is_out_of_hold = true;
        }
        self.landing.push(Landing { epoch, no, request, until: None });
    }

    /// The connection ends: the exit tells of it, or nobody does.
    fn end_connection(&mut self) {
        let Some(epoch) = self.open.take() else { return };
        let is_told = self.rng.random_bool(0.5);
        let aborted = if is_told { self.now } else { self.now.after(LEASE) };
        self.abort_at(aborted);
        let why = if is_told { Why::Aborted } else { Why::ConnectionLost };
        self.hear(Word::Down { epoch, why });
    }

    fn abort_at(&mut self, aborted: Moment) {
        for landing in self.landing.iter_mut().filter(|landing| landing.until.is_none()) {
            landing.until = Some(aborted.after(REQUEST_LIFE));
        }
        self.landing.retain(|landing| landing.request.is_change());
    }

    fn land(&mut self, index: usize) {
        let Landing { epoch, no, request, until } = self.landing.remove(index);
        if request != Request::Flush && until.is_none() {
            self.oracle.execute(epoch, no, &request);
        } else if let Request::Write { .. } = request {
            // The same write may land twice; it must not be older than what is there.
            self.oracle.execute(epoch, no, &request);
        }
        if request == Request::Flush {
            self.disk.flush();
        }
        let reply = self.disk.perform_any(&request);
        if until.is_none() {
            self.hear(Word::Answer { epoch, no, outcome: Ok(reply) });
        }
    }

    fn ask(&mut self) {
        let offset = self.rng.random_range(0..3_u64);
        let length = self.rng.random_range(1..=3 - u32::try_from(offset).unwrap());
        let request = if self.rng.random_bool(0.7) {
            let data = Bytes::from(vec![self.oracle.next_value(); length as usize]);
            Request::Write { offset, data, fua: false }
        } else {
            Request::Read { extent: Extent { offset, length } }
        };
        if self.owner.has_room(request.payload()) {
            self.tag += 1;
            self.oracle.ask(0, self.tag, &request);
            self.input(Input::Asked { client: ClientId(1), tag: self.tag, request });
        }
    }

    /// Time goes on to the next deadline, but no request may land after its life.
    fn pass_time(&mut self) {
        let Some(deadline) = self.owner.deadline() else { return };
        while let Some((until, index)) = self.next_to_end().filter(|(at, _)| *at < deadline) {
            self.now = self.now.max(until);
            if self.rng.random_bool(0.7) {
                self.land(index);
            } else {
                self.landing.remove(index);
            }
        }
        self.now = self.now.max(deadline);
        self.input(Input::TimePassed);
    }

    /// The request of a lost connection whose life ends first.
    fn next_to_end(&self) -> Option<(Moment, usize)> {
        let ends = self.landing.iter().enumerate();
        ends.filter_map(|(index, landing)| Some((landing.until?, index))).min()
    }

    fn step(&mut self) {
        match self.rng.random_range(0..10) {
            0..3 if self.tag < 60 => self.ask(),
            3 => self.end_connection(),
            4..6 => self.pass_time(),
            _ => {
                if let Some(epoch) = self.open.filter(|_| !self.owner.is_serving())
                    && self.rng.random_bool(0.5)
                {
                    let (life, identity, settled) = (Life(epoch.seq), IDENTITY, IDENTITY);
                    self.hear(Word::Opened { epoch, life, identity, settled, size: 3 });
                } else {
                    let is_late = self.rng.random_ratio(1, 20);
                    let is_due = |index: &usize| self.landing[*index].until.is_some() == is_late;
                    let all: Vec<usize> = (0..self.landing.len()).filter(is_due).collect();
                    if let Some(index) = all.choose(&mut self.rng) {
                        self.land(*index);
                    }
                }
            }
        }
    }
}

/// Every write has bytes of its own, greater than those of earlier ones.
fn value(request: &Request) -> Option<u8> {
    match request {
        Request::Write { data, .. } => data.first().copied(),
        _ => None,
    }
}

/// The first schedule that breaks something.
fn first_broken(fence: Fence, schedules: u64) -> Option<(u64, Option<Broken>, bool)> {
    (0..schedules).find_map(|seed| {
        let mut run = Unfenced::new(seed, fence);
        for _ in 0..400 {
            run.step();
            assert!(run.owner.unresolved() <= 64);
        }
        let is_broken = run.is_out_of_hold || run.oracle.broken.is_some();
        is_broken.then_some((seed, run.oracle.broken, run.is_out_of_hold))
    })
}

fn told(lease: Duration, request_life: Duration) -> Fence {
    Fence::None { lease, request_life: Some(request_life), is_clear: true }
}

#[test]
fn n_hold_no_late_attempt_lands_on_newer_bytes() {
    assert_eq!(first_broken(told(LEASE, REQUEST_LIFE), 3000), None);
}

#[test]
fn n_hold_a_life_or_lease_that_is_a_millisecond_short_is_found() {
    for short in [told(LEASE, REQUEST_LIFE - MS), told(LEASE - MS, REQUEST_LIFE), Fence::Epochs] {
        let found = first_broken(short, 3000);
        println!("{short:?}: {found:?}");
        assert!(found.is_some(), "{short:?}");
    }
}

#[test]
fn n_hold_a_new_owner_waits_until_nothing_of_an_earlier_one_can_land() {
    let fence = |request_life| Fence::None { lease: LEASE, request_life, is_clear: false };
    let timed = Unfenced::new(1, fence(Some(REQUEST_LIFE)));
    assert_eq!(timed.open, None);
    assert_eq!(timed.owner.deadline(), Some(Moment::START.after(LEASE + REQUEST_LIFE)));
    let mut untold = Unfenced::new(1, fence(None));
    assert_eq!((untold.open, untold.owner.deadline()), (None, None));
    untold.input(Input::AttemptsEnded);
    assert!(untold.open.is_some());
}
