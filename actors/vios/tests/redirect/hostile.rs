//! What peers send is only bytes: no word or call, in whatever order, makes a machine panic or
//! outgrow its bounds.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use vioduct_vios::block::{Extent, Failure, Reply, Request, Run};
use vioduct_vios::disk::{Abilities, Device};
use vioduct_vios::redirect::hold::Fence;
use vioduct_vios::redirect::initiator::{self, Fate, Initiator};
use vioduct_vios::redirect::limits::InitiatorLimits;
use vioduct_vios::redirect::message::{Call, Why, Word};
use vioduct_vios::redirect::name::{
    AdapterId, ClientId, ConnId, Holder, Identity, Life, LinkId, LuId, OwnerId, ViosId,
};
use vioduct_vios::redirect::relay::{self, PathState, PeerPath, Port, Relay};
use vioduct_vios::redirect::store::{self, OpId, Record, Start, Store, SyncId};
use vioduct_vios::redirect::{Epoch, Moment, owner};

use super::plan::{MS, Plan};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..4_u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1)]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (number(), number()).prop_map(|(owner, seq)| Epoch { owner: OwnerId(owner), seq })
}

fn extent() -> impl Strategy<Value = Extent> {
    let length = prop_oneof![8 => 0..4_u32, 1 => Just(u32::MAX)];
    (number(), length).prop_map(|(offset, length)| Extent { offset, length })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        extent().prop_map(|extent| Request::Read { extent }),
        (number(), 0..6_usize, any::<bool>()).prop_map(|(offset, length, fua)| {
            Request::Write { offset, data: vec![1; length].into(), fua }
        }),
        Just(Request::Flush),
        (extent(), any::<bool>()).prop_map(|(extent, fua)| Request::Trim { extent, fua }),
        (extent(), any::<bool>()).prop_map(|(extent, fua)| {
            Request::WriteZeroes { extent, fua, may_punch: fua, only_fast: false }
        }),
        extent().prop_map(|extent| Request::Status { extent }),
    ]
}

fn outcome() -> impl Strategy<Value = Result<Reply, Failure>> {
    prop_oneof![
        4 => Just(Ok(Reply::Done)),
        2 => (0..4_usize).prop_map(|length| Ok(Reply::Data(vec![0; length].into()))),
        1 => Just(Ok(Reply::Status(vec![Run { length: 0, is_hole: true, is_zero: true }]))),
        1 => Just(Err(Failure::Io)),
        1 => Just(Err(Failure::NoSpace)),
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    number().prop_map(|losses| Identity { volume: 1, boot: 1, losses })
}

fn call() -> impl Strategy<Value = Call> {
    let avoid = proptest::option::of((0..4_u32).prop_map(ViosId));
    prop_oneof![
        (epoch(), number(), any::<u8>(), avoid).prop_map(|(epoch, holder, hop, avoid)| {
            Call::Open { epoch, holder: Holder(holder), hop, avoid }
        }),
        (epoch(), number(), request()).prop_map(|(epoch, no, request)| Call::Request {
            epoch,
            no,
            request
        }),
        (epoch(), number(), any::<bool>()).prop_map(|(epoch, no, settle)| Call::Flush {
            epoch,
            no,
            settle
        }),
        epoch().prop_map(|epoch| Call::Close { epoch }),
        (epoch(), number()).prop_map(|(epoch, beat)| Call::Stay { epoch, beat }),
    ]
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        1 => (epoch(), 0..4_u32).prop_map(|(epoch, exit)| Word::Via { epoch, exit: ViosId(exit) }),
        4 => (epoch(), number(), identity(), identity(), number()).prop_map(
            |(epoch, life, identity, settled, size)| Word::Opened {
                epoch, life: Life(life), identity, settled, size,
            },
        ),
        1 => epoch().prop_map(|epoch| Word::Draining { epoch }),
        1 => (epoch(), epoch(), number()).prop_map(|(epoch, highest, holder)| {
            Word::Refused { epoch, highest, holder: Holder(holder) }
        }),
        1 => epoch().prop_map(|epoch| Word::NoPath { epoch }),
        8 => (epoch(), number(), outcome())
            .prop_map(|(epoch, no, outcome)| Word::Answer { epoch, no, outcome }),
        1 => (epoch(), number(), number())
            .prop_map(|(epoch, taken, answered)| Word::Alive { epoch, taken, answered }),
        1 => epoch().prop_map(|epoch| Word::Down { epoch, why: Why::Spoilt }),
        1 => epoch().prop_map(|epoch| Word::Better { epoch }),
        1 => epoch().prop_map(|epoch| Word::Closed { epoch }),
        1 => (epoch(), number()).prop_map(|(epoch, beat)| Word::Lease { epoch, beat }),
        1 => (epoch(), number()).prop_map(|(epoch, no)| Word::Void { epoch, no }),
    ]
}

fn port() -> impl Strategy<Value = Port> {
    prop_oneof![
        (0..3_u64).prop_map(|link| Port::Owner(LinkId(link))),
        (0..3_u32).prop_map(|vios| Port::Peer(ViosId(vios))),
        (0..3_u64).prop_map(|conn| Port::Storage(ConnId(conn))),
    ]
}

fn owner_input() -> impl Strategy<Value = owner::Input> {
    let entry = || (0..3_u32).prop_map(ViosId);
    prop_oneof![
        6 => (0..2_u64, number(), request()).prop_map(|(client, tag, request)| {
            owner::Input::Asked { client: ClientId(client), tag, request }
        }),
        16 => word().prop_map(|word| owner::Input::Heard { entry: ViosId(0), word }),
        2 => (entry(), word()).prop_map(|(entry, word)| owner::Input::Heard { entry, word }),
        1 => entry().prop_map(|entry| owner::Input::EntryLost { entry }),
        1 => entry().prop_map(|entry| owner::Input::Spoilt { entry }),
        1 => entry().prop_map(|entry| owner::Input::EntryFound { entry }),
        1 => (vec(entry(), 0..3), 0..3_usize).prop_map(|(entries, near)| {
            owner::Input::EntriesChanged { entries, near }
        }),
        1 => (0..2_u64).prop_map(|client| owner::Input::ClientLeft { client: ClientId(client) }),
        1 => (0..9_u64).prop_map(|kib| owner::Input::Grown { size: kib << 10 }),
        4 => Just(owner::Input::TimePassed),
    ]
}

/// Words of the session that the owner is in, most of the time: others are not looked at.
fn aim(input: owner::Input, owner: &owner::Owner) -> owner::Input {
    match input {
        owner::Input::Heard { entry: ViosId(0), word } => {
            let epoch = owner.epoch();
            let word = match word {
                Word::Opened { life, identity, settled, size, .. } => {
                    Word::Opened { epoch, life, identity, settled, size }
                }
                Word::Answer { no, outcome, .. } => Word::Answer { epoch, no, outcome },
                Word::Alive { taken, answered, .. } => Word::Alive { epoch, taken, answered },
                word => word,
            };
            owner::Input::Heard { entry: ViosId(0), word }
        }
        input => input,
    }
}

fn store_input() -> impl Strategy<Value = store::Input> {
    let conn = || (0..2_u64).prop_map(ConnId);
    let exit = ViosId(0);
    prop_oneof![
        16 => (conn(), 0..3_u64, call()).prop_map(move |(conn, lu, call)| {
            store::Input::Received { conn, exit, lu: LuId(lu), call }
        }),
        6 => (0..12_u64, outcome())
            .prop_map(|(op, outcome)| store::Input::Performed { op: OpId(op), outcome }),
        4 => (0..12_u64).prop_map(|sync| store::Input::Stored { sync: SyncId(sync) }),
        1 => (0..12_u64).prop_map(|sync| store::Input::NotStored { sync: SyncId(sync) }),
        1 => conn().prop_map(|conn| store::Input::Lost { conn }),
        1 => (0..3_u64, 0..9_u64)
            .prop_map(|(lu, kib)| store::Input::Grown { lu: LuId(lu), size: kib << 10 }),
        1 => (0..3_u64).prop_map(|lu| store::Input::Deleted { lu: LuId(lu) }),
        1 => Just(store::Input::TimePassed),
    ]
}

fn relay_input() -> impl Strategy<Value = relay::Input> {
    let state =
        || prop_oneof![Just(PathState::Good), Just(PathState::Degraded), Just(PathState::Lost)];
    prop_oneof![
        8 => (port(), 0..2_u64, call())
            .prop_map(|(from, lu, call)| relay::Input::Called { from, lu: LuId(lu), call }),
        8 => (port(), 0..2_u64, word())
            .prop_map(|(from, lu, word)| relay::Input::Heard { from, lu: LuId(lu), word }),
        1 => port().prop_map(|port| relay::Input::PortLost { port }),
        1 => (0..2_u8, 0..3_u64).prop_map(|(adapter, conn)| {
            relay::Input::Connected { adapter: AdapterId(adapter), conn: ConnId(conn) }
        }),
        2 => (0..2_u8, state()).prop_map(|(adapter, state)| {
            relay::Input::FabricChanged { adapter: AdapterId(adapter), state }
        }),
        2 => (0..9_u32, state(), number()).prop_map(|(vios, state, load)| {
            let path = PeerPath {
                state,
                is_same_cec: true,
                round_trip: MS,
                load: u32::try_from(load).unwrap_or(u32::MAX),
            };
            relay::Input::PeerChanged { vios: ViosId(vios), path }
        }),
    ]
}

fn initiator_input() -> impl Strategy<Value = initiator::Input> {
    let conn = || (1..4_u64).prop_map(ConnId);
    let lu = || (1..3_u64).prop_map(LuId);
    let fate = prop_oneof![
        4 => outcome().prop_map(Fate::Answered),
        1 => Just(Fate::NotSent),
        1 => Just(Fate::Unanswered),
    ];
    let device = any::<bool>().prop_map(|is_shared| Device {
        abilities: Abilities { is_shared, ..Abilities::ALL },
        ..Device::new(4)
    });
    prop_oneof![
        16 => (lu(), call()).prop_map(|(lu, call)| initiator::Input::Called { lu, call }),
        4 => (conn(), device)
            .prop_map(|(conn, device)| initiator::Input::Connected { conn, device }),
        1 => proptest::collection::btree_map(lu(), any::<bool>(), 0..4)
            .prop_map(|lus| initiator::Input::Reaches { lus }),
        1 => conn().prop_map(|conn| initiator::Input::NotConnected { conn }),
        6 => (conn(), number(), fate)
            .prop_map(|(conn, no, fate)| initiator::Input::Performed { conn, no, fate }),
        1 => conn().prop_map(|conn| initiator::Input::ConnClosed { conn }),
        1 => lu().prop_map(|lu| initiator::Input::Spoilt { lu }),
        1 => Just(initiator::Input::PathLost),
        2 => Just(initiator::Input::TimePassed),
    ]
}

const NO_FENCE: Fence = Fence::None { lease: MS, request_life: Some(MS), is_clear: true };

/// A session is open at each of the first two LUs, most of the time.
fn opened() -> Vec<initiator::Input> {
    let all = [1, 2].map(|number| {
        let (lu, conn, holder) = (LuId(number), ConnId(number), Holder(0));
        let epoch = Epoch { owner: OwnerId(0), seq: 1 };
        let call = Call::Open { epoch, holder, hop: 0, avoid: None };
        let abilities = Abilities::ALL;
        let device = Device { abilities, ..Device::new(4) };
        [initiator::Input::Called { lu, call }, initiator::Input::Connected { conn, device }]
    });
    all.into_iter().flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn an_owner_withstands_any_words(inputs in vec(owner_input(), 0..120), has_fence: bool) {
        let limits = Plan::small(Vec::new()).owner;
        let attachment = owner::Attachment {
            lu: LuId(1),
            owner: OwnerId(1),
            holder: Holder(1),
            entries: vec![ViosId(0), ViosId(1)],
            near: 1,
            is_client_new: false,
            fence: if has_fence { Fence::Epochs } else { NO_FENCE },
        };
        let mut owner = owner::Owner::new(limits.clone(), attachment, 1).unwrap();
        owner.handle(Moment::START, owner::Input::Started);
        for (time, input) in (1..).zip(inputs) {
            let input = aim(input, &owner);
            owner.handle(Moment::START.after(MS * time / 4), input);
            while owner.poll().is_some() {}
            prop_assert!(owner.requests() <= limits.requests_max);
            prop_assert!(owner.under_way() <= limits.under_way_max);
            prop_assert!(owner.dirty().bytes() <= limits.dirty_bytes_max);
            prop_assert!(owner.dirty().ranges() <= limits.dirty_ranges_max);
        }
    }

    #[test]
    fn an_initiator_withstands_any_calls_and_answers(inputs in vec(initiator_input(), 0..120)) {
        let limits = InitiatorLimits { requests_max: 4, ..InitiatorLimits::default() };
        let lus = [(LuId(1), false), (LuId(2), true)];
        let mut initiator = Initiator::new(limits, lus, 1).unwrap();
        let mut under_way = BTreeSet::new();
        for (time, input) in (1..).zip(opened().into_iter().chain(inputs)) {
            if let initiator::Input::Performed { conn, no, .. } = &input {
                under_way.remove(&(*conn, *no));
            }
            initiator.handle(Moment::START.after(MS * time * 20), input);
            while let Some(effect) = initiator.poll() {
                match effect {
                    initiator::Effect::Perform { conn, no, .. } => {
                        prop_assert!(under_way.insert((conn, no)), "{no} twice");
                    }
                    initiator::Effect::Cut { conn } => under_way.retain(|(of, _no)| *of != conn),
                    _effect => {}
                }
            }
            prop_assert!(under_way.len() <= 2 * 4);
        }
    }

    #[test]
    fn a_store_withstands_any_calls(inputs in vec(store_input(), 0..120)) {
        let limits = Plan::small(Vec::new()).store;
        let identity = Identity { volume: 1, boot: 1, losses: u64::MAX };
        let start = Start { identity, was_syncing: false, seed: 1 };
        let record = Record::new(4, identity, Epoch::NONE);
        let mut store = Store::new(limits.clone(), start, [(LuId(1), record)]).unwrap();
        let mut highest = Epoch::NONE;
        for input in inputs {
            store.handle(Moment::START, input);
            while store.poll().is_some() {}
            prop_assert!(store.requests(LuId(1)) <= limits.requests_max as u64);
            if let Some(open) = store.open_epoch(LuId(1)) {
                prop_assert!(open >= highest);
                highest = open;
            }
        }
    }

    #[test]
    fn a_relay_withstands_any_messages(inputs in vec(relay_input(), 0..120)) {
        let limits = Plan::small(Vec::new()).relay;
        let mut relay = Relay::new(limits.clone(), ViosId(0)).unwrap();
        for input in inputs {
            let has_hopped = matches!(&input, relay::Input::Called { from: Port::Peer(_), .. });
            relay.handle(Moment::START, input);
            while let Some(effect) = relay.poll() {
                let is_hop = matches!(effect, relay::Effect::Call { to: Port::Peer(_), .. });
                prop_assert!(!(has_hopped && is_hop), "a second hop: {effect:?}");
            }
            prop_assert!(relay.routes() <= limits.routes_max);
        }
    }
}
