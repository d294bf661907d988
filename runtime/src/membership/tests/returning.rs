use super::*;

fn second_run(text: &str) -> Machine {
    machine(Member { incarnation: 2, ..member(text) })
}

fn refusal(node: &str, reason: RefuseReason) -> Effect {
    Effect::Refuse { node: name(node), incarnation: 1, reason }
}

#[test]
fn a_node_that_restarts_at_once_returns_without_having_been_down() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.start(second_run("c"), "a");
    net.run_for(30 * SECOND);
    assert_eq!(net.told_by("a"), [returned("c", 2)]);
    assert_eq!(net.told_by("b"), [returned("c", 2)]);
}

#[test]
fn a_node_that_was_down_returns_with_a_higher_incarnation() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.machines.remove(&name("c"));
    net.run_for(20 * SECOND);
    net.start(second_run("c"), "a");
    net.run_for(5 * SECOND);
    let expected = [suspect("c"), down("c", DownReason::Failed), returned("c", 2)];
    assert_eq!(net.told_by("a"), expected);
    assert_eq!(net.told_by("b"), expected);
}

#[test]
fn a_node_declared_down_is_refused_and_told_and_returns_when_it_is_renewed() {
    let mut net = Net::of(&["a", "b", "c", "d"]);
    net.cut.insert(name("c"));
    assert!(net.run_until(30 * SECOND, |net| {
        ["a", "b", "d"].iter().all(|by| net.has_told(by, &down("c", DownReason::Failed)))
    }));
    net.told.clear();
    net.cut.clear();
    let expelled = MemberEvent::Expelled(ExpelReason::DeclaredDown);
    assert!(net.run_until(10 * SECOND, |net| net.has_told("c", &expelled)));
    let (by, effect) = net.refused[0].clone();
    assert_eq!(effect, refusal("c", RefuseReason::Quarantined { down: 1 }), "by {by}");
    // It rests, and nobody takes it for a member.
    net.run_for(20 * SECOND);
    assert_eq!(net.machines[&name("c")].deadline(), None);
    assert_eq!(net.told_by("a"), []);

    net.step(&name("c"), Input::Renewed { incarnation: 2 });
    net.run_for(5 * SECOND);
    for by in ["a", "b", "d"] {
        assert_eq!(net.told_by(by), [returned("c", 2)], "{by}");
    }
    assert_eq!(net.machines[&name("c")].active(), 3);
}

#[test]
fn a_run_seen_on_a_link_is_refused_unless_it_is_the_latest() {
    let mut net = Net::of(&["a", "b"]);
    let a = net.machines.get_mut(&name("a")).unwrap();
    let mut saw = |node: &str, incarnation| {
        a.handle(net.now, Input::IncarnationSeen { node: name(node), incarnation });
        let all = effects(a).into_iter();
        all.filter(|effect| !matches!(effect, Effect::Send { .. })).collect::<Vec<_>>()
    };
    assert_eq!(saw("stranger", 1), []);
    assert_eq!(saw("b", 1), []);
    assert_eq!(saw("b", 2), [Effect::Tell(returned("b", 2))]);
    let superseded = RefuseReason::Superseded { current: 2 };
    assert_eq!(saw("b", 1), [refusal("b", superseded)]);
}

#[test]
fn a_node_that_moved_is_where_it_says_itself() {
    let mut net = Net::of(&["a", "b"]);
    net.step(&name("a"), Input::IncarnationSeen { node: name("b"), incarnation: 2 });
    let moved = Member { incarnation: 2, addr: member("elsewhere").addr, ..member("b") };
    let known = |net: &Net| net.machines[&name("a")].members().next().unwrap();
    assert_eq!(known(&net), (Member { incarnation: 2, ..member("b") }, MemberState::Alive));
    net.start(machine(moved.clone()), "a");
    assert_eq!(known(&net), (moved, MemberState::Alive));
}

#[test]
fn a_dead_run_seen_on_a_link_is_sent_word_of_its_death() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.step(&name("c"), Input::LeaveAsked);
    net.run_for(3 * SECOND);
    net.step(&name("a"), Input::IncarnationSeen { node: name("c"), incarnation: 1 });
    let quarantined = refusal("c", RefuseReason::Quarantined { down: 1 });
    assert_eq!(net.refused, [(name("a"), quarantined)]);
    let told: Vec<&NodeName> = net.flying.iter().map(|(_, to, _)| to).collect();
    assert_eq!(told, [&name("c")]);
}

#[test]
fn an_old_run_that_hears_of_a_later_one_goes_and_does_it_no_harm() {
    let mut net = Net::of(&["a", "b", "c"]);
    let old = net.machines.remove(&name("c")).unwrap();
    net.start(second_run("c"), "a");
    net.run_for(2 * SECOND);
    let new = net.machines.insert(name("c"), old).unwrap();
    // The old run comes back to the network for a moment.
    let superseded = MemberEvent::Expelled(ExpelReason::Superseded { by: 2 });
    let told = MemberEvent::Expelled(ExpelReason::DeclaredDown);
    assert!(net.run_until(30 * SECOND, |net| {
        net.has_told("c", &superseded) || net.has_told("c", &told)
    }));
    net.machines.insert(name("c"), new);
    net.run_for(60 * SECOND);
    assert_eq!(net.machines[&name("c")].active(), 2);
    assert_eq!(net.told_by("a"), [returned("c", 2)]);
}

#[test]
fn news_of_a_later_run_of_this_node_ends_it() {
    let mut net = Net::of(&["a", "b"]);
    net.step(&name("a"), Input::IncarnationSeen { node: name("a"), incarnation: 2 });
    let superseded = MemberEvent::Expelled(ExpelReason::Superseded { by: 2 });
    assert_eq!(net.told_by("a"), [superseded]);
}

#[test]
fn one_that_was_cut_off_for_long_takes_none_of_the_others_with_it() {
    let mut net = Net::of(&["a", "b", "c", "d"]);
    net.cut.insert(name("a"));
    net.run_for(60 * SECOND);
    assert_eq!(net.machines[&name("a")].active(), 0);
    assert_eq!(net.machines[&name("b")].active(), 2);
    net.told.clear();
    net.cut.clear();
    net.run_for(300 * SECOND);
    assert_eq!(net.told_by("a"), [MemberEvent::Expelled(ExpelReason::DeclaredDown)]);
    for by in ["b", "c", "d"] {
        assert_eq!(net.told_by(by), [], "{by}");
    }
}
