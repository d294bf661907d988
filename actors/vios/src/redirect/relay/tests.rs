use std::time::Duration;

use super::super::name::{LinkId, OwnerId};
use super::*;
use crate::block::Request;

const LU: LuId = LuId(1);
const OWN: ViosId = ViosId(0);
const OWNER: Port = Port::Owner(LinkId(9));
const ADAPTER: AdapterId = AdapterId(1);
const CONN: ConnId = ConnId(4);
const SECOND: AdapterId = AdapterId(2);
const SECOND_CONN: ConnId = ConnId(6);
const HOLDER: Holder = Holder(5);

fn epoch(seq: u64) -> Epoch {
    Epoch { owner: OwnerId(1), seq }
}

fn limits() -> RelayLimits {
    RelayLimits { routes_max: 2, peers_max: 4, hysteresis: Duration::from_secs(5) }
}

/// Its own fabric as told, and other VIOSes with good paths.
fn relay(own: PathState, peers: &[u32]) -> Relay {
    let mut relay = Relay::new(limits(), OWN).unwrap();
    relay.handle(Moment::START, Input::Connected { adapter: ADAPTER, conn: CONN });
    relay.handle(Moment::START, Input::FabricChanged { adapter: ADAPTER, state: own });
    for vios in peers {
        let path = PeerPath {
            state: PathState::Good,
            is_same_cec: true,
            round_trip: Duration::from_micros(u64::from(*vios)),
            load: 0,
        };
        relay.handle(Moment::START, Input::PeerChanged { vios: ViosId(*vios), path });
    }
    assert_eq!(relay.poll(), None);
    relay
}

fn step(relay: &mut Relay, input: Input) -> Vec<Effect> {
    relay.handle(Moment::START, input);
    std::iter::from_fn(|| relay.poll()).collect()
}

fn open(from: Port, seq: u64, hop: u8, avoid: Option<ViosId>) -> Input {
    let call = Call::Open { epoch: epoch(seq), holder: HOLDER, hop, avoid };
    Input::Called { from, lu: LU, call }
}

fn passed(to: Port, seq: u64, hop: u8) -> Effect {
    let call = Call::Open { epoch: epoch(seq), holder: HOLDER, hop, avoid: None };
    Effect::Call { to, lu: LU, call }
}

fn said(to: Port, word: Word) -> Effect {
    Effect::Word { to, lu: LU, word }
}

fn heard(from: Port, word: Word) -> Input {
    Input::Heard { from, lu: LU, word }
}

fn via(seq: u64, exit: u32) -> Effect {
    said(OWNER, Word::Via { epoch: epoch(seq), exit: ViosId(exit) })
}

fn peer(vios: u32) -> Port {
    Port::Peer(ViosId(vios))
}

fn opened(seq: u64) -> Word {
    let identity = super::super::name::Identity { volume: 1, boot: 1, losses: 0 };
    Word::Opened {
        epoch: epoch(seq),
        life: super::super::name::Life(1),
        identity,
        settled: identity,
        size: 8,
    }
}

#[test]
fn an_open_leaves_by_the_own_fabric_if_that_is_good_else_by_the_nearest_other_vios() {
    let mut near = relay(PathState::Good, &[1, 2]);
    assert_eq!(
        step(&mut near, open(OWNER, 1, 0, None)),
        [via(1, 0), passed(Port::Storage(CONN), 1, 0)]
    );
    assert_eq!(step(&mut near, open(OWNER, 2, 0, Some(OWN))), [via(2, 1), passed(peer(1), 2, 1)]);
    let mut far = relay(PathState::Lost, &[2, 1]);
    assert_eq!(step(&mut far, open(OWNER, 1, 0, None)), [via(1, 1), passed(peer(1), 1, 1)]);
}

#[test]
fn the_next_exit_is_tried_only_after_a_definite_no() {
    let mut relay = relay(PathState::Lost, &[1, 2]);
    step(&mut relay, open(OWNER, 1, 0, None));
    let no_path = Word::NoPath { epoch: epoch(1) };
    assert_eq!(step(&mut relay, heard(peer(2), no_path.clone())), [], "nobody asked it");
    assert_eq!(
        step(&mut relay, heard(peer(1), no_path.clone())),
        [via(1, 2), passed(peer(2), 1, 1)]
    );
    assert_eq!(step(&mut relay, heard(peer(2), no_path.clone())), [said(OWNER, no_path)]);
    assert_eq!(relay.routes(), 0);
}

#[test]
fn an_open_that_has_hopped_goes_no_further() {
    for (hop, from) in [(1, peer(1)), (0, peer(1)), (1, OWNER), (7, OWNER)] {
        let mut cut_off = relay(PathState::Lost, &[1, 2]);
        let no_path = said(from, Word::NoPath { epoch: epoch(1) });
        assert_eq!(step(&mut cut_off, open(from, 1, hop, None)), [no_path]);
    }
}

#[test]
fn a_call_of_the_storages_is_not_looked_at() {
    let mut relay = relay(PathState::Good, &[1]);
    assert_eq!(step(&mut relay, open(Port::Storage(CONN), 1, 0, None)), []);
    assert_eq!(relay.routes(), 0);
}

#[test]
fn a_session_ends_with_any_part_of_its_way() {
    let down = |why| said(OWNER, Word::Down { epoch: epoch(1), why });
    let losses = [
        (Input::PortLost { port: Port::Storage(CONN) }, Why::ConnectionLost),
        (Input::FabricChanged { adapter: ADAPTER, state: PathState::Lost }, Why::FabricLost),
        (Input::Connected { adapter: ADAPTER, conn: ConnId(5) }, Why::ConnectionLost),
    ];
    for (loss, why) in losses {
        let mut relay = relay(PathState::Good, &[]);
        step(&mut relay, open(OWNER, 1, 0, None));
        step(&mut relay, heard(Port::Storage(CONN), opened(1)));
        assert_eq!(step(&mut relay, loss), [down(why)]);
        let request = Call::Request { epoch: epoch(1), no: 1, request: Request::Flush };
        assert_eq!(
            step(&mut relay, Input::Called { from: OWNER, lu: LU, call: request }),
            [down(Why::NotOpen)]
        );
    }
    let mut far = relay(PathState::Lost, &[1]);
    step(&mut far, open(OWNER, 1, 0, None));
    let lost = Input::PortLost { port: peer(1) };
    assert_eq!(step(&mut far, lost), [down(Why::ConnectionLost)]);
}

#[test]
fn words_come_only_from_the_way_that_the_session_has() {
    let mut relay = relay(PathState::Good, &[1]);
    step(&mut relay, open(OWNER, 1, 0, None));
    for from in [peer(1), OWNER, Port::Storage(ConnId(5))] {
        assert_eq!(step(&mut relay, heard(from, opened(1))), []);
    }
    assert_eq!(step(&mut relay, heard(Port::Storage(CONN), opened(2))), []);
    assert_eq!(step(&mut relay, heard(Port::Storage(CONN), opened(1))), [said(OWNER, opened(1))]);
    let better = Word::Better { epoch: epoch(1) };
    assert_eq!(step(&mut relay, heard(Port::Storage(CONN), better)), []);
}

#[test]
fn an_owner_is_told_once_of_the_own_fabric_and_only_after_the_hysteresis() {
    let mut relay = relay(PathState::Lost, &[1]);
    step(&mut relay, open(OWNER, 1, 0, None));
    step(&mut relay, heard(peer(1), opened(1)));
    assert_eq!(relay.deadline(), None);
    assert_eq!(
        step(&mut relay, Input::FabricChanged { adapter: ADAPTER, state: PathState::Good }),
        []
    );
    let proven = Moment::START.after(Duration::from_secs(5));
    assert_eq!(relay.deadline(), Some(proven));
    relay.handle(proven, Input::TimePassed);
    assert_eq!(relay.poll(), Some(said(OWNER, Word::Better { epoch: epoch(1) })));
    relay.handle(proven, Input::TimePassed);
    assert_eq!((relay.poll(), relay.deadline()), (None, None));
}

#[test]
fn sessions_beyond_the_bound_find_no_path_and_stale_opens_are_not_looked_at() {
    let mut relay = relay(PathState::Good, &[]);
    for link in 0..3 {
        let from = Port::Owner(LinkId(link));
        let effects = step(&mut relay, open(from, 3, 0, None));
        let no_path = said(from, Word::NoPath { epoch: epoch(3) });
        assert_eq!(effects.contains(&no_path), link == 2);
    }
    assert_eq!(step(&mut relay, open(Port::Owner(LinkId(1)), 3, 0, None)), []);
    assert_eq!(step(&mut relay, open(Port::Owner(LinkId(1)), 2, 0, None)), []);
    assert_eq!(relay.routes(), 2);
}

/// Two own ways, the first of which has been good for longer, and another VIOS.
fn two_ways() -> Relay {
    let mut relay = relay(PathState::Good, &[1]);
    let later = Moment::START.after(Duration::from_secs(1));
    relay.handle(later, Input::Connected { adapter: SECOND, conn: SECOND_CONN });
    relay.handle(later, Input::FabricChanged { adapter: SECOND, state: PathState::Good });
    assert_eq!(relay.poll(), None);
    relay
}

#[test]
fn another_own_way_is_tried_before_another_vios_and_only_sessions_of_a_lost_one_end() {
    let mut relay = two_ways();
    let (first, second) = (Port::Storage(CONN), Port::Storage(SECOND_CONN));
    assert_eq!(step(&mut relay, open(OWNER, 1, 0, None)), [via(1, 0), passed(first, 1, 0)]);
    step(&mut relay, heard(first, opened(1)));
    assert_eq!((relay.routes_by(ADAPTER), relay.routes_by(SECOND)), (1, 0));
    let other = Input::FabricChanged { adapter: SECOND, state: PathState::Lost };
    assert_eq!(step(&mut relay, other), []);
    let back = Input::FabricChanged { adapter: SECOND, state: PathState::Good };
    assert_eq!(step(&mut relay, back), []);
    let lost = Input::FabricChanged { adapter: ADAPTER, state: PathState::Lost };
    let down = Word::Down { epoch: epoch(1), why: Why::FabricLost };
    assert_eq!(step(&mut relay, lost), [said(OWNER, down)]);
    assert_eq!(relay.own_state(), PathState::Good);
    assert_eq!(step(&mut relay, open(OWNER, 2, 0, None)), [via(2, 0), passed(second, 2, 0)]);
    assert_eq!(step(&mut relay, heard(first, opened(2))), [], "it has another way");
    let lost = Input::PortLost { port: second };
    let down = Word::Down { epoch: epoch(2), why: Why::ConnectionLost };
    assert_eq!(step(&mut relay, lost), [said(OWNER, down)]);
    assert_eq!(relay.own_state(), PathState::Lost);
    assert_eq!(step(&mut relay, open(OWNER, 3, 0, None)), [via(3, 1), passed(peer(1), 3, 1)]);
}

#[test]
fn a_silent_own_way_is_left_out_alone_and_after_all_of_them_another_vios_is_tried() {
    let mut relay = two_ways();
    let (first, second) = (Port::Storage(CONN), Port::Storage(SECOND_CONN));
    step(&mut relay, open(OWNER, 1, 0, None));
    step(&mut relay, heard(first, opened(1)));
    let avoid = Some(OWN);
    assert_eq!(step(&mut relay, open(OWNER, 2, 0, avoid)), [via(2, 0), passed(second, 2, 0)]);
    assert_eq!(step(&mut relay, open(OWNER, 3, 0, avoid)), [via(3, 1), passed(peer(1), 3, 1)]);
    let avoid = Some(ViosId(1));
    assert_eq!(step(&mut relay, open(OWNER, 4, 0, avoid)), [via(4, 0), passed(first, 4, 0)]);
    let mut fresh = two_ways();
    let of_another_entry = open(OWNER, 9, 0, Some(OWN));
    assert_eq!(step(&mut fresh, of_another_entry), [via(9, 1), passed(peer(1), 9, 1)]);
}

#[test]
fn a_session_moves_off_a_degraded_own_way_once_another_is_proven_and_off_a_good_one_never() {
    let mut relay = two_ways();
    step(&mut relay, open(OWNER, 1, 0, None));
    step(&mut relay, heard(Port::Storage(CONN), opened(1)));
    let degraded = Input::FabricChanged { adapter: ADAPTER, state: PathState::Degraded };
    assert_eq!(step(&mut relay, degraded), []);
    let proven = Moment::START.after(Duration::from_secs(6));
    assert_eq!(relay.deadline(), Some(proven));
    relay.handle(proven, Input::TimePassed);
    assert_eq!(relay.poll(), Some(said(OWNER, Word::Better { epoch: epoch(1) })));
    let again = open(OWNER, 2, 0, None);
    assert_eq!(step(&mut relay, again), [via(2, 0), passed(Port::Storage(SECOND_CONN), 2, 0)]);
    step(&mut relay, heard(Port::Storage(SECOND_CONN), opened(2)));
    let mended = Input::FabricChanged { adapter: ADAPTER, state: PathState::Good };
    relay.handle(proven, mended);
    let much_later = proven.after(Duration::from_secs(60));
    relay.handle(much_later, Input::TimePassed);
    assert_eq!((relay.poll(), relay.deadline()), (None, None));
    let again = open(OWNER, 3, 0, None);
    let longest = [via(3, 0), passed(Port::Storage(SECOND_CONN), 3, 0)];
    assert_eq!(step(&mut relay, again), longest, "it has been good for longer");
}

#[test]
fn a_session_that_was_opened_by_the_worse_of_two_good_own_ways_stays_there() {
    let mut relay = two_ways();
    step(&mut relay, open(OWNER, 1, 0, None));
    step(&mut relay, open(OWNER, 2, 0, Some(OWN)));
    step(&mut relay, heard(Port::Storage(SECOND_CONN), opened(2)));
    assert_eq!((relay.routes_by(ADAPTER), relay.routes_by(SECOND)), (0, 1));
    relay.handle(Moment::START.after(Duration::from_secs(60)), Input::TimePassed);
    assert_eq!((relay.poll(), relay.deadline()), (None, None));
}
