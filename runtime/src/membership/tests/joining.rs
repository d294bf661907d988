use foca::Message;

use super::super::frame::{Body, Frame};
use super::super::member::MemberId;
use super::*;

fn message_of(datagram: &Bytes) -> Message<MemberId> {
    match Frame::read(datagram, 1150).unwrap().body {
        Body::Gossip(gossip) => gossip.header.message,
        other => panic!("{other:?} is no message of foca's"),
    }
}

#[test]
fn a_node_asks_its_seeds_again_until_one_answers_and_never_itself() {
    let mut machine = machine(member("a"));
    machine.handle(Moment::START, Input::JoinAsked { seeds: vec![seed("b"), seed("a")] });
    for second in 1..=3 {
        let sent = effects(&mut machine);
        let [Effect::Send { to, addr, datagram }] = sent.as_slice() else {
            panic!("{sent:?} is not one datagram")
        };
        assert_eq!((to, *addr), (&name("b"), member("b").addr));
        assert_eq!(message_of(datagram), Message::Announce);
        let due = Moment::START.after(second * SECOND);
        assert_eq!(machine.deadline(), Some(due));
        machine.handle(due, Input::TimePassed);
    }
}

#[test]
fn a_node_without_seeds_waits_for_others() {
    let mut machine = machine(member("a"));
    machine.handle(Moment::START, Input::JoinAsked { seeds: Vec::new() });
    assert_eq!((effects(&mut machine), machine.deadline()), (Vec::new(), None));
}

#[test]
fn whoever_joins_learns_address_and_roles_of_the_others_and_they_of_it() {
    let mut net = Net::default();
    net.start(machine(member("a")), "a");
    net.start(machine(member("b")), "a");
    net.run_for(SECOND);
    net.start(machine(member("c")), "a");
    net.run_for(2 * SECOND);
    assert_eq!(net.told_by("a"), [up("b"), up("c")]);
    assert_eq!(net.told_by("b"), [up("a"), up("c")]);
    assert_eq!(net.told_by("c"), [up("a"), up("b")]);
    let known: Vec<_> = net.machines[&name("c")].members().collect();
    assert_eq!(known, [(member("a"), MemberState::Alive), (member("b"), MemberState::Alive)]);
}

#[test]
fn whoever_joins_late_reads_the_whole_roster_page_by_page() {
    let mut net = Net::default();
    let names: Vec<String> = (0..120).map(|number| format!("host-{number:03}")).collect();
    for text in &names {
        net.start(machine(member(text)), "host-000");
    }
    net.run_for(70 * SECOND);
    net.start(machine(member("late")), "host-000");
    // Six pages of 23 members and more follow each other at once; foca named as many as fit one.
    net.run_for(Duration::from_millis(1));
    assert_eq!(net.machines[&name("late")].active(), 120);
}

#[test]
fn no_datagram_is_longer_than_allowed_even_with_the_longest_names() {
    let addr = SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), 7401);
    let long = |number: u32| format!("{number:063}");
    for datagram_bytes_max in (512..552).step_by(3) {
        let mut net = Net::default();
        let config = MembershipConfig { datagram_bytes_max, ..MembershipConfig::default() };
        for number in 0..16 {
            let own = Member { addr, ..member(&long(number)) };
            net.start(Machine::new(own, config.clone(), 7).unwrap(), &long(0));
        }
        net.run_for(40 * SECOND);
        assert!(net.machines.values().all(|machine| machine.active() == 15));
        let longest = net.sent.iter().map(Bytes::len).max().unwrap();
        let allowed = usize::from(datagram_bytes_max);
        assert!((400..=allowed).contains(&longest), "{longest} bytes of {allowed}");
    }
}
