use super::*;

#[test]
fn a_member_that_falls_silent_is_suspected_and_four_periods_later_declared_down() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.machines.remove(&name("c"));
    net.run_for(20 * SECOND);
    let moments: Vec<Moment> = net.told.iter().map(|(at, _, _)| *at).collect();
    assert_eq!(net.told_by("a"), [suspect("c"), down("c", DownReason::Failed)]);
    assert_eq!(net.told_by("b"), [suspect("c"), down("c", DownReason::Failed)]);
    let (first, last) = (moments[0], *moments.last().unwrap());
    let lasted = last.since(first);
    assert!(
        (4 * SECOND..=4 * SECOND + Duration::from_millis(400)).contains(&lasted),
        "suspected for {lasted:?}"
    );
}

#[test]
fn a_suspect_that_speaks_up_is_a_member_still_and_stays_one() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.cut.insert(name("c"));
    assert!(net.run_until(10 * SECOND, |net| net.has_told("a", &suspect("c"))));
    net.cut.clear();
    net.run_for(120 * SECOND);
    assert!(net.has_told("a", &refuted("c")) && net.has_told("b", &refuted("c")));
    assert_eq!(deaths(&net), Vec::<&MemberEvent>::new());
}

/// Whom anybody declared down, itself too.
fn deaths(net: &Net) -> Vec<&MemberEvent> {
    let told = net.told.iter().map(|(_, _, event)| event);
    told.filter(|event| matches!(event, MemberEvent::Down { .. } | MemberEvent::Expelled(_)))
        .collect()
}

#[test]
fn a_node_that_was_stopped_for_a_while_declares_nobody_down_for_it() {
    let mut net = Net::of(&["a", "b", "c"]);
    net.frozen.insert(name("c"));
    assert!(net.run_until(10 * SECOND, |net| net.has_told("a", &suspect("c"))));
    net.run_for(Duration::from_millis(2500));
    net.frozen.clear();
    net.frozen.insert(name("a"));
    net.run_for(2 * SECOND);
    net.frozen.clear();
    // It looks at the clock before it reads what came meanwhile.
    net.step(&name("a"), Input::TimePassed);
    net.run_for(60 * SECOND);
    assert!(net.has_told("a", &refuted("c")));
    assert_eq!(deaths(&net), Vec::<&MemberEvent>::new());
}

#[test]
fn who_leaves_is_down_by_its_own_word_for_those_too_whom_it_did_not_tell() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut net = Net::of(&names);
    net.step(&name("c"), Input::LeaveAsked);
    assert_eq!(net.flying.len(), 3);
    net.run_for(3 * SECOND);
    for other in names.into_iter().filter(|other| *other != "c") {
        assert_eq!(net.told_by(other), [down("c", DownReason::Left)], "{other}");
    }
    assert_eq!(net.told_by("c"), []);
    assert_eq!(net.machines[&name("c")].deadline(), None);
}

#[test]
fn a_node_that_loses_all_others_asks_its_seeds_again() {
    let mut net = Net::of(&["a", "b"]);
    net.cut.insert(name("b"));
    net.run_for(20 * SECOND);
    assert_eq!(net.told_by("b"), [suspect("a"), down("a", DownReason::Failed)]);
    let before = net.sent.len();
    net.run_for(10 * SECOND);
    assert_eq!(net.sent.len() - before, 10, "one announcement a second");
}

#[test]
fn two_that_never_reach_each_other_stay_members_while_a_third_reaches_both() {
    for names in [&["a", "b", "d"][..], &["a", "b", "c", "d", "e", "f", "g"]] {
        let mut net = Net::of(names);
        net.parted = Some([name("a"), name("d")]);
        net.run_for(600 * SECOND);
        assert_eq!(net.told, []);
    }
}
