use bytes::BufMut;
use foca::{Codec as _, Header, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::codec::Codec;
use super::super::frame::Frame;
use super::super::member::MemberId;
use super::*;

/// Most that one input may lead to: two events for each update of 22 bytes, and some datagrams.
const EFFECTS_MAX: usize = 2 * 1150 / 22 + 8;

fn gossip(from: &str, to: &str, message: Message<MemberId>, updates: &[Member]) -> Bytes {
    let (src, dst) = (MemberId::new(&member(from)), MemberId::new(&member(to)));
    let mut bytes = Vec::new();
    let is_alone = matches!(message, Message::Announce | Message::TurnUndead);
    Codec.encode_header(&Header { src, src_incarnation: 0, dst, message }, &mut bytes).unwrap();
    if !is_alone {
        bytes.put_u16(u16::try_from(updates.len()).unwrap());
    }
    for update in updates {
        let update = foca::Member::alive(MemberId::new(update));
        Codec.encode_member(&update, &mut bytes).unwrap();
    }
    Frame::gossip(1, &bytes)
}

fn receive(net: &mut Net, to: &str, from: &str, datagram: Bytes) {
    net.step(&name(to), Input::DatagramReceived { from: name(from), datagram });
}

#[test]
fn a_datagram_in_the_name_of_another_is_not_believed() {
    let mut net = Net::of(&["a", "b", "c"]);
    // b says that it is c, and c that it leaves.
    let leave = Frame::leave(1, &MemberId::new(&member("c")));
    receive(&mut net, "a", "b", leave.clone());
    receive(&mut net, "a", "b", gossip("c", "a", Message::Ping(1), &[member("x")]));
    assert_eq!(net.machines[&name("a")].dropped().forged, 2);
    assert_eq!((net.told_by("a"), net.flying.len()), (Vec::new(), 0));
    // The same from c itself counts.
    receive(&mut net, "a", "c", leave);
    assert_eq!(net.told_by("a"), [down("c", DownReason::Left)]);
}

#[test]
fn a_peer_cannot_make_a_node_dial_where_no_member_is() {
    let mut net = Net::of(&["a", "b"]);
    let target = MemberId::new(&member("victim"));
    let request = gossip("b", "a", Message::PingReq { target, probe_number: 1 }, &[]);
    receive(&mut net, "a", "b", request);
    assert_eq!(net.machines[&name("a")].dropped().unknown_target, 1);
    assert_eq!(net.flying.len(), 0);
}

#[test]
fn a_datagram_for_an_earlier_run_of_this_node_is_not_believed() {
    let mut net = Net::of(&["a", "b"]);
    net.step(&name("a"), Input::Renewed { incarnation: 2 });
    net.run_for(SECOND);
    receive(&mut net, "a", "b", gossip("b", "a", Message::TurnUndead, &[]));
    assert_eq!(net.machines[&name("a")].dropped().misaddressed, 1);
    assert_eq!(net.told_by("a"), [up("b")]);
}

#[test]
fn one_who_names_more_nodes_than_there_is_room_for_only_pushes_out_the_dead() {
    let mut net = Net::default();
    let config = MembershipConfig { members_max: 10, ..MembershipConfig::default() };
    net.start(Machine::new(member("a"), config, 7).unwrap(), "a");
    for text in ["b", "c"] {
        net.start(machine(member(text)), "a");
    }
    net.run_for(2 * SECOND);
    net.step(&name("c"), Input::LeaveAsked);
    net.run_for(2 * SECOND);
    assert_eq!(net.machines[&name("a")].members().count(), 2);
    for batch in 0..50 {
        let names: Vec<Member> =
            (0..20).map(|number| member(&format!("x-{batch}-{number}"))).collect();
        receive(&mut net, "a", "b", gossip("b", "a", Message::Gossip, &names));
    }
    let machine = &net.machines[&name("a")];
    let known: Vec<Member> = machine.members().map(|(member, _)| member).collect();
    assert_eq!(known.len(), 10);
    assert_eq!(known.iter().filter(|known| known.node == name("b")).count(), 1);
    assert_eq!(known.iter().filter(|known| known.node == name("c")).count(), 0);
    // Of 1000, nine found room.
    assert_eq!(machine.dropped().crowded, 991);
}

/// A member of three, one of which is silent, and what was sent among them.
fn among_three() -> (Machine, Moment, Vec<Bytes>) {
    let mut net = Net::of(&["a", "b", "c"]);
    net.cut.insert(name("c"));
    net.run_for(5 * SECOND);
    (net.machines.remove(&name("a")).unwrap(), net.now, net.sent)
}

fn damage(bytes: &mut Vec<u8>, chance: &mut StdRng) {
    match chance.random_range(0..4) {
        0 => bytes.truncate(chance.random_range(0..bytes.len())),
        1 => bytes.extend((0..chance.random_range(1..40)).map(|_| chance.random::<u8>())),
        2 => chance.fill(bytes.as_mut_slice()),
        _ => {
            for _ in 0..chance.random_range(1..6) {
                let at = chance.random_range(0..bytes.len());
                bytes[at] = chance.random();
            }
        }
    }
}

fn add(total: &mut Dropped, more: Dropped) {
    total.malformed += more.malformed;
    total.forged += more.forged;
    total.misaddressed += more.misaddressed;
}

#[test]
fn damaged_datagrams_are_counted_and_do_no_harm() {
    let mut chance = StdRng::seed_from_u64(11);
    let (mut a, now, samples) = among_three();
    let mut total = Dropped::default();
    for _ in 0..30_000 {
        let mut bytes = samples[chance.random_range(0..samples.len())].to_vec();
        damage(&mut bytes, &mut chance);
        let from = name(["b", "c"][chance.random_range(0..2)]);
        a.handle(now, Input::DatagramReceived { from, datagram: bytes.into() });
        let effects = effects(&mut a);
        assert!(effects.len() <= EFFECTS_MAX, "{} effects of one datagram", effects.len());
        // Damage can make a member say that this node is down, and then the node goes.
        let is_over = |effect: &Effect| matches!(effect, Effect::Tell(MemberEvent::Expelled(_)));
        if effects.iter().any(is_over) {
            add(&mut total, a.dropped());
            a = among_three().0;
        }
    }
    add(&mut total, a.dropped());
    assert!(total.malformed > 20_000, "{total:?}");
    // Damage that leaves a readable message is met too.
    assert!(total.forged > 1000 && total.misaddressed > 100, "{total:?}");
}

#[test]
fn a_datagram_that_is_too_long_is_not_read() {
    let mut net = Net::of(&["a", "b"]);
    let names: Vec<Member> = (0..60).map(|number| member(&format!("x-{number}"))).collect();
    let long = gossip("b", "a", Message::Gossip, &names);
    assert!(long.len() > 1150);
    receive(&mut net, "a", "b", long);
    assert_eq!(net.machines[&name("a")].dropped().malformed, 1);
    assert_eq!(net.told_by("a"), []);
}

#[test]
fn a_run_that_is_refused_pushes_out_nobody_and_is_told_before_its_link_is_closed() {
    let mut net = Net::default();
    let config = MembershipConfig { members_max: 3, ..MembershipConfig::default() };
    net.start(Machine::new(member("a"), config, 7).unwrap(), "a");
    for text in ["b", "c", "d"] {
        net.start(machine(member(text)), "a");
    }
    net.run_for(2 * SECOND);
    net.step(&name("c"), Input::LeaveAsked);
    net.step(&name("d"), Input::LeaveAsked);
    net.run_for(2 * SECOND);
    let a = net.machines.get_mut(&name("a")).unwrap();
    let datagram = gossip("c", "a", Message::Gossip, &[member("x"), member("y")]);
    a.handle(net.now, Input::DatagramReceived { from: name("c"), datagram });
    let effects = effects(a);
    let [Effect::Send { to, .. }, refuse] = effects.as_slice() else {
        panic!("{effects:?} is not a datagram and a refusal")
    };
    let reason = RefuseReason::Quarantined { down: 1 };
    assert_eq!(to, &name("c"));
    assert_eq!(refuse, &Effect::Refuse { node: name("c"), incarnation: 1, reason });
    let known: Vec<NodeName> = a.members().map(|(member, _)| member.node).collect();
    assert_eq!(known, [name("b"), name("c"), name("d")]);
}
