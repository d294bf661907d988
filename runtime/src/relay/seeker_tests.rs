use rand::SeedableRng;

use super::*;

const AFTER: Duration = Duration::from_secs(2);

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn at(millis: u64) -> Moment {
    Moment::START.after(Duration::from_millis(millis))
}

/// `d` at port 4, which this node dials, and others that are linked.
fn sights(d: Option<u16>, others: &[&str]) -> BTreeMap<NodeName, Sight> {
    let sight = |port, linked| Sight { addr: port, linked, is_sound: true, is_ours: true };
    let mut sights = BTreeMap::from([(node("d"), sight(addr(4), d.map(addr)))]);
    sights.extend(others.iter().map(|other| (node(other), sight(addr(9), Some(addr(9))))));
    sights
}

struct Seeking(Seeker);

impl Seeking {
    fn new() -> Self {
        Self(Seeker::new(AFTER, StdRng::seed_from_u64(7)))
    }

    fn drain(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.0.poll()).collect()
    }

    fn look(&mut self, millis: u64, d: Option<u16>, others: &[&str]) -> Vec<Effect> {
        self.0.handle(at(millis), Input::Looked(sights(d, others)));
        self.drain()
    }

    fn answer(&mut self, millis: u64, by: &str, port: Option<u16>) -> Vec<Effect> {
        let (by, to, port) = (node(by), node("d"), port.map(addr));
        self.0.handle(at(millis), Input::Answered { by, to, port });
        self.drain()
    }

    /// Its link goes by `b`, port 77.
    fn carried() -> Self {
        let mut it = Self::new();
        it.look(0, None, &["b"]);
        it.look(2000, None, &["b"]);
        it.answer(2001, "b", Some(77));
        assert_eq!(it.look(2500, Some(77), &["b"]), [by("b"), dial(4)]);
        it
    }
}

fn ask(by: &str) -> Effect {
    Effect::Ask { by: node(by), to: node("d") }
}

fn dial(port: u16) -> Effect {
    Effect::Dial { to: node("d"), addr: addr(port) }
}

fn by(by: &str) -> Effect {
    Effect::Carried { by: node(by), to: node("d") }
}

fn left(is_direct: bool) -> Effect {
    Effect::Left { to: node("d"), is_direct }
}

#[test]
fn a_member_that_stays_down_is_dialled_by_another_and_meanwhile_directly() {
    let mut it = Seeking::new();
    assert_eq!(it.look(0, None, &["b"]), []);
    assert_eq!(it.look(1999, None, &["b"]), []);
    assert_eq!(it.look(2000, None, &["b"]), [ask("b")]);
    assert_eq!(it.look(2500, None, &["b"]), [], "it is asked once");
    assert_eq!(it.answer(2501, "b", Some(77)), [dial(77)]);
    assert_eq!(it.look(3000, Some(77), &["b"]), [by("b"), dial(4)]);
    assert_eq!(it.look(3500, Some(77), &["b"]), []);
    assert_eq!(it.look(9000, Some(4), &["b"]), [left(true)]);
    assert_eq!(it.look(9500, None, &["b"]), [], "it is a new beginning");
    assert_eq!(it.look(11_499, None, &["b"]), []);
    assert_eq!(it.look(11_500, None, &["b"]), [ask("b")]);
}

#[test]
fn who_is_dialled_by_the_member_waits_longer() {
    let mut it = Seeking::new();
    let theirs = |millis| {
        let mut sights = sights(None, &["b"]);
        sights.get_mut(&node("d")).unwrap().is_ours = false;
        it.0.handle(at(millis), Input::Looked(sights));
        it.drain()
    };
    assert_eq!([0, 5999, 6000].map(theirs), [vec![], vec![], vec![ask("b")]]);
}

#[test]
fn a_relay_that_is_lost_is_replaced_at_once_by_another_one_first() {
    let mut it = Seeking::carried();
    let others = ["b", "c", "e"];
    let effects = it.look(3000, None, &others);
    assert_eq!(effects[0], left(false));
    assert!(effects[1..] == [ask("c")] || effects[1..] == [ask("e")], "{effects:?}");
}

#[test]
fn all_are_tried_and_then_the_direct_way_and_then_all_again() {
    let mut it = Seeking::new();
    let others = ["b", "c", "e"];
    it.look(0, None, &others);
    let mut asked = BTreeSet::new();
    for millis in [2000, 2500, 3000] {
        let effects = it.look(millis, None, &others);
        let [Effect::Ask { by, .. }] = &effects[..] else { panic!("{effects:?}") };
        asked.insert(by.to_string());
        assert_eq!(it.answer(millis + 1, by.as_str(), None), []);
    }
    assert_eq!(asked, others.map(String::from).into());
    assert_eq!(it.look(3500, None, &others), [], "it is dialled there anyhow");
    assert_eq!(it.look(8499, None, &others), []);
    assert!(matches!(it.look(8500, None, &others)[..], [Effect::Ask { .. }]));
}

#[test]
fn a_dial_by_another_has_its_time_then_the_direct_one_and_then_the_next_is_asked() {
    let mut it = Seeking::new();
    it.look(0, None, &["b", "c"]);
    let effects = it.look(2000, None, &["b", "c"]);
    let (first, second) = if effects == [ask("b")] { ("b", "c") } else { ("c", "b") };
    it.answer(2000, first, Some(77));
    assert_eq!(it.look(7999, None, &["b", "c"]), []);
    assert_eq!(it.look(8000, None, &["b", "c"]), [dial(4)], "and not where it is not");
    assert_eq!(it.answer(8001, first, Some(78)), [], "it was given up");
    assert_eq!(it.look(12_999, None, &["b", "c"]), []);
    assert_eq!(it.look(13_000, None, &["b", "c"]), [ask(second)]);
}

#[test]
fn however_many_lead_nowhere_the_direct_way_is_tried_between_them() {
    let names: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
    let others: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut it = Seeking::new();
    let (mut direct_since, mut by_others) = (Some(0), 0);
    let mut left_at = 0;
    for millis in (0..300_000).step_by(500) {
        for effect in it.look(millis, None, &others) {
            if let Effect::Ask { by, .. } = &effect {
                assert_eq!(it.answer(millis, by.as_str(), Some(77)), [dial(77)]);
                let since = direct_since.take().expect("no two relays in a row");
                assert!(by_others == 0 || millis - since >= 5000, "{since} {millis}");
                (by_others, left_at) = (by_others + 1, millis);
            } else {
                assert_eq!(effect, dial(4));
                direct_since = Some(millis);
            }
        }
        assert!(direct_since.is_some() || millis - left_at < 6500, "{left_at} {millis}");
    }
    assert!(by_others > 20, "{by_others}");
}

#[test]
fn so_many_that_refuse_are_asked_in_a_row() {
    let mut it = Seeking::new();
    let others = ["b", "c", "e", "f", "g"];
    let mut asked = Vec::new();
    for millis in (0..30_000).step_by(500) {
        for effect in it.look(millis, None, &others) {
            let Effect::Ask { by, .. } = effect else { panic!("{effect:?}") };
            it.answer(millis, by.as_str(), None);
            asked.push(millis);
        }
    }
    assert_eq!(asked[..4], [2000, 2500, 3000, 8500]);
}

#[test]
fn what_comes_up_by_itself_is_not_displaced_by_a_relay() {
    let mut it = Seeking::new();
    it.look(0, None, &["b"]);
    it.look(2000, None, &["b"]);
    assert_eq!(it.look(2500, Some(4), &["b"]), []);
    assert_eq!(it.answer(2501, "b", Some(77)), [], "it is not needed any more");
    it.look(3000, None, &["b"]);
    it.look(5000, None, &["b"]);
    assert_eq!(it.answer(5001, "b", Some(77)), [dial(77)]);
    assert_eq!(it.look(5500, Some(4), &["b"]), [dial(4)]);
}

#[test]
fn what_comes_up_late_by_a_relay_is_dialled_directly_all_the_same() {
    let mut it = Seeking::new();
    it.look(0, None, &["b"]);
    it.look(2000, None, &["b"]);
    it.answer(2000, "b", Some(77));
    assert_eq!(it.look(8000, None, &["b"]), [dial(4)]);
    assert_eq!(it.look(8500, Some(77), &["b"]), [], "it was dialled where it is last");
}

#[test]
fn nobody_is_asked_who_is_suspected_unlinked_reached_by_others_or_the_member_itself() {
    let mut it = Seeking::carried();
    let mut sights = sights(Some(77), &["b", "c", "x"]);
    sights.get_mut(&node("b")).unwrap().is_sound = false;
    sights.get_mut(&node("c")).unwrap().linked = None;
    sights.get_mut(&node("x")).unwrap().linked = None;
    for millis in [3000, 5000] {
        it.0.handle(at(millis), Input::Looked(sights.clone()));
    }
    let asked = it.drain();
    assert_eq!(asked, [], "d is reached by b, and b is suspected");
    sights.get_mut(&node("b")).unwrap().is_sound = true;
    it.0.handle(at(10_000), Input::Looked(sights));
    let ask = |to| Effect::Ask { by: node("b"), to: node(to) };
    assert_eq!(it.drain(), [ask("c"), ask("x")]);
}

#[test]
fn who_is_no_member_is_not_sought_any_more() {
    let mut it = Seeking::carried();
    it.0.gone(&node("d"));
    assert_eq!(it.drain(), [left(false)]);
    assert_eq!(it.answer(2600, "b", Some(78)), []);
    let mut it = Seeking::carried();
    it.0.handle(at(3000), Input::Looked(BTreeMap::new()));
    assert_eq!(it.drain(), [left(false)]);
}

#[test]
fn only_so_many_are_sought_at_once() {
    let mut it = Seeking::new();
    let names: Vec<NodeName> = (10..60).map(|number| node(&format!("n{number}"))).collect();
    let down = |name: &NodeName| {
        let sight = Sight { addr: addr(9), linked: None, is_sound: true, is_ours: true };
        (name.clone(), sight)
    };
    let mut all: BTreeMap<_, _> = names.iter().map(down).collect();
    all.extend(sights(Some(4), &["b"]));
    for millis in [0, 2000, 2500] {
        it.0.handle(at(millis), Input::Looked(all.clone()));
    }
    assert_eq!(it.drain().len(), SOUGHT_MAX);
}
