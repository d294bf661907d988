use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    backoff_min: Duration::from_millis(50),
    backoff_max: Duration::from_secs(1),
    start_timeout: Duration::from_secs(5),
    unreachable_after: Duration::from_secs(10),
};

fn run(incarnation: u64) -> PeerRun {
    PeerRun { incarnation, instance: incarnation * 100 }
}

fn effects(machine: &mut LinkMachine, now: Instant, input: Input) -> Vec<Effect> {
    machine.handle(now, input);
    std::iter::from_fn(|| machine.poll()).collect()
}

fn at(millis: u64) -> Instant {
    Instant::START.after(Duration::from_millis(millis))
}

/// A machine whose first dial was welcomed.
fn up() -> LinkMachine {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let conn = ConnId(1);
    assert_eq!(
        effects(&mut machine, at(0), Input::Wanted),
        [Effect::Dial { conn, generation: 1, live: 0 }]
    );
    assert_eq!(
        effects(&mut machine, at(1), Input::Welcomed { conn, run: run(1), live: 0 }),
        [Effect::Adopt { conn, generation: 1 }]
    );
    machine
}

#[test]
fn a_lost_connection_is_dialled_again_above_its_generation() {
    let mut machine = up();
    assert_eq!(effects(&mut machine, at(2), Input::Lost { conn: ConnId(1) }), []);
    let due = machine.deadline().expect("a retry is timed");
    assert!(due <= at(2).after(TIMING.backoff_min));
    assert_eq!(
        effects(&mut machine, due, Input::Tick),
        [Effect::Dial { conn: ConnId(2), generation: 2, live: 0 }]
    );
}

#[test]
fn a_replacement_retires_the_old_connection_only_once_it_is_up() {
    let mut machine = up();
    let conn = ConnId(2);
    assert_eq!(
        effects(&mut machine, at(2), Input::Replace),
        [Effect::Dial { conn, generation: 2, live: 1 }]
    );
    assert_eq!(machine.current(), Some(ConnId(1)));
    assert_eq!(
        effects(&mut machine, at(3), Input::Welcomed { conn, run: run(1), live: 1 }),
        [Effect::Retire { conn: ConnId(1) }, Effect::Adopt { conn, generation: 2 }]
    );
}

#[test]
fn a_connection_that_the_peer_has_lost_is_dropped_and_not_drained() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let first = machine.name_connection();
    let offered = Input::Offered { conn: first, run: run(1), generation: 1, live: 0 };
    effects(&mut machine, at(0), offered);
    effects(&mut machine, at(1), Input::Started { conn: first });
    let conn = machine.name_connection();
    let offered = Input::Offered { conn, run: run(1), generation: 2, live: 0 };
    effects(&mut machine, at(2), offered);
    assert_eq!(
        effects(&mut machine, at(3), Input::Started { conn }),
        [Effect::Drop { conn: first }, Effect::Adopt { conn, generation: 2 }]
    );
}

#[test]
fn an_offer_that_the_peer_may_already_use_is_not_displaced_by_the_next_one() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let first = machine.name_connection();
    effects(
        &mut machine,
        at(0),
        Input::Offered { conn: first, run: run(1), generation: 1, live: 0 },
    );
    let second = machine.name_connection();
    let offered = Input::Offered { conn: second, run: run(1), generation: 2, live: 0 };
    assert_eq!(
        effects(&mut machine, at(1), offered),
        [Effect::Reject { conn: second, rejection: Rejection::Duplicate }]
    );
    assert_eq!(
        effects(&mut machine, at(2), Input::Started { conn: first }),
        [Effect::Adopt { conn: first, generation: 1 }]
    );
}

#[test]
fn a_replacement_that_fails_is_tried_again_even_when_the_peer_dialled_first() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let conn = machine.name_connection();
    effects(&mut machine, at(0), Input::Offered { conn, run: run(1), generation: 1, live: 0 });
    effects(&mut machine, at(1), Input::Started { conn });
    let dial = Effect::Dial { conn: ConnId(2), generation: 2, live: 1 };
    assert_eq!(effects(&mut machine, at(2), Input::Replace), [dial]);
    let failed = Input::DialFailed { conn: ConnId(2), rejection: Some(Rejection::Duplicate) };
    assert_eq!(effects(&mut machine, at(3), failed), []);
    let due = machine.deadline().expect("a retry is timed");
    let dial = Effect::Dial { conn: ConnId(3), generation: 2, live: 1 };
    assert_eq!(effects(&mut machine, due, Input::Tick), [dial]);
}

#[test]
fn who_is_reached_elsewhere_is_dialled_there_at_once_whatever_is_under_way() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let dial = |conn, generation, live| Effect::Dial { conn: ConnId(conn), generation, live };
    assert_eq!(effects(&mut machine, at(0), Input::Redial), [dial(1, 1, 0)], "it is wanted");
    let abandon = Effect::AbandonDial { conn: ConnId(1) };
    assert_eq!(effects(&mut machine, at(1), Input::Redial), [abandon, dial(2, 1, 0)]);
    let welcomed = Input::Welcomed { conn: ConnId(2), run: run(1), live: 0 };
    effects(&mut machine, at(2), welcomed);
    // While a connection is up, it is tried until it succeeds.
    assert_eq!(effects(&mut machine, at(3), Input::Redial), [dial(3, 2, 1)]);
    effects(&mut machine, at(4), Input::DialFailed { conn: ConnId(3), rejection: None });
    assert_eq!(machine.current(), Some(ConnId(2)));
    let due = machine.deadline().expect("a retry is timed");
    assert_eq!(effects(&mut machine, due, Input::Tick), [dial(4, 2, 1)]);
    assert_eq!(
        effects(&mut machine, due, Input::Welcomed { conn: ConnId(4), run: run(1), live: 1 }),
        [Effect::Retire { conn: ConnId(2) }, Effect::Adopt { conn: ConnId(4), generation: 2 }]
    );
    effects(&mut machine, due, Input::Close);
    assert_eq!(effects(&mut machine, due, Input::Redial), []);
}

#[test]
fn the_dial_of_the_lower_name_lives() {
    for (is_lower, expected) in [
        (true, vec![Effect::Reject { conn: ConnId(2), rejection: Rejection::Duplicate }]),
        (
            false,
            vec![
                Effect::AbandonDial { conn: ConnId(1) },
                Effect::Welcome { conn: ConnId(2), generation: 1, live: 0 },
            ],
        ),
    ] {
        let mut machine = LinkMachine::new(is_lower, TIMING, 1);
        effects(&mut machine, at(0), Input::Wanted);
        let conn = machine.name_connection();
        let offered = Input::Offered { conn, run: run(1), generation: 1, live: 0 };
        assert_eq!(effects(&mut machine, at(1), offered), expected);
    }
}

#[test]
fn an_older_run_is_turned_away_and_a_newer_one_displaces_the_old() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let conn = machine.name_connection();
    effects(&mut machine, at(0), Input::Offered { conn, run: run(5), generation: 1, live: 0 });
    effects(&mut machine, at(1), Input::Started { conn });
    let mut offer = |incarnation, instance| {
        let conn = machine.name_connection();
        let run = PeerRun { incarnation, instance };
        effects(&mut machine, at(2), Input::Offered { conn, run, generation: 9, live: 0 })
    };
    let stale = Rejection::StaleIncarnation { dialling: 4, known: 5 };
    assert_eq!(offer(4, 400), [Effect::Reject { conn: ConnId(2), rejection: stale }]);
    let conflict = Rejection::IdentityConflict { incarnation: 5 };
    assert_eq!(offer(5, 501), [Effect::Reject { conn: ConnId(3), rejection: conflict }]);
    assert_eq!(
        offer(6, 600),
        [
            Effect::Drop { conn: ConnId(1) },
            Effect::PeerRestarted,
            Effect::Welcome { conn: ConnId(4), generation: 9, live: 0 },
        ]
    );
}

#[test]
fn what_is_queued_is_given_up_once_and_after_the_stated_time() {
    let mut machine = up();
    effects(&mut machine, at(0), Input::Lost { conn: ConnId(1) });
    let mut given_up = Vec::new();
    let mut now = at(0);
    while now < at(30_000) {
        now = machine.deadline().expect("a wanted link always has a deadline");
        for effect in effects(&mut machine, now, Input::Tick) {
            match effect {
                Effect::Dial { conn, .. } => {
                    let failed = Input::DialFailed { conn, rejection: None };
                    assert_eq!(effects(&mut machine, now, failed), []);
                }
                Effect::GiveUp => given_up.push(now),
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    assert_eq!(given_up, [at(10_000)]);
}

#[test]
fn an_evicted_peer_is_cut_and_what_is_queued_given_up() {
    let mut machine = up();
    assert_eq!(
        effects(&mut machine, at(2), Input::Evict),
        [Effect::Drop { conn: ConnId(1) }, Effect::GiveUp]
    );
    assert!(machine.deadline().is_some(), "it is dialled again, in case it gets a new certificate");
}

#[test]
fn a_closing_link_retires_its_connection_and_takes_no_other() {
    let mut machine = up();
    assert_eq!(effects(&mut machine, at(2), Input::Close), [Effect::Retire { conn: ConnId(1) }]);
    let conn = machine.name_connection();
    let offered = Input::Offered { conn, run: run(1), generation: 7, live: 0 };
    assert_eq!(
        effects(&mut machine, at(3), offered),
        [Effect::Reject { conn, rejection: Rejection::Closing }]
    );
    assert_eq!(machine.deadline(), None);
}

fn dismissal(incarnation: u64) -> Dismissal {
    Dismissal { incarnation, reason: "declared down".to_owned() }
}

#[test]
fn a_dismissed_run_is_cut_and_not_dialled_and_cut_again_when_it_dials() {
    let mut machine = up();
    let dismiss = |conn| Effect::Dismiss { conn, reason: dismissal(1).reason };
    assert_eq!(
        effects(&mut machine, at(2), Input::Dismissed(dismissal(1))),
        [dismiss(ConnId(1)), Effect::GiveUp]
    );
    assert_eq!(machine.deadline(), None);
    assert_eq!(effects(&mut machine, at(3), Input::Lost { conn: ConnId(1) }), []);
    assert_eq!(effects(&mut machine, at(4), Input::Dismissed(dismissal(1))), []);
    let conn = machine.name_connection();
    let offered = Input::Offered { conn, run: run(1), generation: 9, live: 0 };
    let welcome = Effect::Welcome { conn, generation: 9, live: 0 };
    assert_eq!(effects(&mut machine, at(5), offered), [welcome]);
    let adopt = Effect::Adopt { conn, generation: 9 };
    assert_eq!(effects(&mut machine, at(6), Input::Started { conn }), [adopt]);
    assert_eq!(
        effects(&mut machine, at(7), Input::Dismissed(dismissal(1))),
        [dismiss(conn), Effect::GiveUp]
    );
    assert_eq!(machine.deadline(), None);
}

#[test]
fn a_later_run_of_a_dismissed_peer_may_dial() {
    let mut machine = up();
    effects(&mut machine, at(2), Input::Dismissed(dismissal(1)));
    let conn = machine.name_connection();
    let offered = Input::Offered { conn, run: run(2), generation: 1, live: 0 };
    let welcome = Effect::Welcome { conn, generation: 1, live: 0 };
    assert_eq!(effects(&mut machine, at(3), offered), [Effect::PeerRestarted, welcome]);
    let adopt = Effect::Adopt { conn, generation: 1 };
    assert_eq!(effects(&mut machine, at(4), Input::Started { conn }), [adopt]);
    assert_eq!(effects(&mut machine, at(5), Input::Dismissed(dismissal(1))), []);
}

#[test]
fn a_dismissed_link_that_is_wanted_anew_takes_messages_and_dials() {
    let mut machine = up();
    effects(&mut machine, at(2), Input::Dismissed(dismissal(1)));
    let conn = ConnId(2);
    assert_eq!(
        effects(&mut machine, at(3), Input::Wanted),
        [Effect::Reopen, Effect::Dial { conn, generation: 2, live: 0 }]
    );
    let adopt = Effect::Adopt { conn, generation: 2 };
    let welcomed = Input::Welcomed { conn, run: run(1), live: 0 };
    assert_eq!(effects(&mut machine, at(4), welcomed), [adopt]);
}

#[test]
fn a_dismissal_gives_up_what_is_being_made() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    effects(&mut machine, at(0), Input::Wanted);
    assert_eq!(
        effects(&mut machine, at(1), Input::Dismissed(dismissal(3))),
        [Effect::AbandonDial { conn: ConnId(1) }, Effect::GiveUp]
    );
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let conn = machine.name_connection();
    effects(&mut machine, at(0), Input::Offered { conn, run: run(3), generation: 1, live: 0 });
    assert_eq!(
        effects(&mut machine, at(1), Input::Dismissed(dismissal(3))),
        [Effect::Drop { conn }, Effect::GiveUp]
    );
    assert_eq!(effects(&mut machine, at(2), Input::Started { conn }), []);
}

#[test]
fn late_news_of_an_earlier_run_dismisses_nobody() {
    let mut machine = LinkMachine::new(true, TIMING, 1);
    let conn = machine.name_connection();
    effects(&mut machine, at(0), Input::Offered { conn, run: run(5), generation: 1, live: 0 });
    assert_eq!(effects(&mut machine, at(1), Input::Dismissed(dismissal(4))), []);
    let adopt = Effect::Adopt { conn, generation: 1 };
    assert_eq!(effects(&mut machine, at(2), Input::Started { conn }), [adopt]);
}

#[test]
fn a_run_that_was_dismissed_dials_as_rarely_as_it_may() {
    let mut machine = up();
    let mut now = at(0);
    for dial in 2..5 {
        effects(&mut machine, now, Input::LostForGood { conn: ConnId(dial - 1) });
        let due = machine.deadline().expect("it is tried again");
        assert!(due.since(now) >= TIMING.backoff_max / 2, "{:?}", due.since(now));
        now = due;
        let (conn, generation) = (ConnId(dial), dial);
        assert_eq!(
            effects(&mut machine, now, Input::Tick),
            [Effect::Dial { conn, generation, live: 0 }]
        );
        let welcomed = Input::Welcomed { conn, run: run(1), live: 0 };
        assert_eq!(effects(&mut machine, now, welcomed), [Effect::Adopt { conn, generation }]);
    }
}

/// Two machines and everything on its way between them.
struct World {
    now: Instant,
    machines: [LinkMachine; 2],
    runs: [PeerRun; 2],
    /// By number: who dialled, and what each side calls it.
    connections: Vec<Wire>,
    on_the_way: Vec<(usize, Notice)>,
    /// What each side has adopted, by generation.
    adopted: [BTreeMap<u64, usize>; 2],
    /// Which sides want no link with the other's run.
    dismissed: [bool; 2],
}

struct Wire {
    dialler: usize,
    generation: u64,
    names: [Option<ConnId>; 2],
    /// What carried the link in each side's eyes when it spoke.
    lives: [u64; 2],
    is_broken: bool,
    /// Who has closed it because the other's run is dismissed.
    dismissed_by: Option<usize>,
}

/// Something that one side is about to learn of connection `usize`.
#[derive(Debug, Clone)]
enum Notice {
    Hello,
    Welcome,
    Rejected(Rejection),
    Start,
    Gone,
}

impl World {
    /// `wanting` are the sides that know the other's address.
    fn new(wanting: &[usize]) -> Self {
        let machine = |is_lower, seed| LinkMachine::new(is_lower, TIMING, seed);
        let mut world = Self {
            now: at(0),
            machines: [machine(true, 1), machine(false, 2)],
            runs: [run(1), run(2)],
            connections: Vec::new(),
            on_the_way: Vec::new(),
            adopted: [BTreeMap::new(), BTreeMap::new()],
            dismissed: [false; 2],
        };
        for side in wanting {
            world.give(*side, Input::Wanted);
        }
        world
    }

    fn give(&mut self, side: usize, input: Input) {
        match &input {
            Input::Dismissed(_) => self.dismissed[side] = true,
            Input::Wanted | Input::Redial => self.dismissed[side] = false,
            _other => {}
        }
        self.machines[side].handle(self.now, input);
        while let Some(effect) = self.machines[side].poll() {
            self.perform(side, effect);
        }
    }

    fn wire(&self, side: usize, conn: ConnId) -> usize {
        let is_it = |wire: &Wire| wire.names[side] == Some(conn);
        self.connections.iter().position(is_it).expect("effects name known connections")
    }

    fn perform(&mut self, side: usize, effect: Effect) {
        let other = 1 - side;
        match effect {
            Effect::Dial { conn, generation, live } => {
                assert!(!self.dismissed[side], "a dismissed run is dialled");
                let mut names = [None, None];
                names[side] = Some(conn);
                let mut lives = [0, 0];
                lives[side] = live;
                self.connections.push(Wire {
                    dialler: side,
                    generation,
                    names,
                    lives,
                    is_broken: false,
                    dismissed_by: None,
                });
                self.on_the_way.push((self.connections.len() - 1, Notice::Hello));
            }
            Effect::Welcome { conn, generation, live } => {
                let wire = self.wire(side, conn);
                assert_eq!(self.connections[wire].generation, generation);
                self.connections[wire].lives[side] = live;
                self.on_the_way.push((wire, Notice::Welcome));
            }
            Effect::Reject { conn, rejection } => {
                self.on_the_way.push((self.wire(side, conn), Notice::Rejected(rejection)));
            }
            Effect::Adopt { conn, generation } => {
                // It has dialled by itself.
                self.dismissed[side] = false;
                let wire = self.wire(side, conn);
                if self.connections[wire].dialler == side {
                    self.on_the_way.push((wire, Notice::Start));
                } else {
                    let agreed = self.adopted[other].get(&generation) == Some(&wire);
                    assert!(agreed, "the accepting side adopts what the dialling side has");
                }
                let newest = self.adopted[side].last_key_value().map_or(0, |(newest, _)| *newest);
                assert!(generation > newest, "generations rise");
                self.adopted[side].insert(generation, wire);
            }
            Effect::AbandonDial { conn } | Effect::Retire { conn } | Effect::Drop { conn } => {
                self.break_wire(self.wire(side, conn));
            }
            Effect::Dismiss { conn, .. } => {
                let wire = self.wire(side, conn);
                self.connections[wire].dismissed_by = Some(side);
                self.break_wire(wire);
            }
            Effect::PeerRestarted => panic!("no side restarts"),
            Effect::GiveUp | Effect::Reopen => {}
        }
    }

    fn break_wire(&mut self, wire: usize) {
        if !std::mem::replace(&mut self.connections[wire].is_broken, true) {
            self.on_the_way.push((wire, Notice::Gone));
        }
    }

    fn deliver(&mut self, pick: usize) {
        if self.on_the_way.is_empty() {
            return;
        }
        let (wire, notice) = self.on_the_way.remove(pick % self.on_the_way.len());
        let Wire { dialler, generation, names, lives, is_broken, .. } = self.connections[wire];
        let acceptor = 1 - dialler;
        match notice {
            Notice::Gone => self.tell_gone(wire),
            _other if is_broken => {}
            Notice::Hello => {
                let conn = self.machines[acceptor].name_connection();
                self.connections[wire].names[acceptor] = Some(conn);
                let (run, live) = (self.runs[dialler], lives[dialler]);
                self.give(acceptor, Input::Offered { conn, run, generation, live });
            }
            Notice::Welcome => {
                let conn = names[dialler].unwrap();
                let (run, live) = (self.runs[acceptor], lives[acceptor]);
                self.give(dialler, Input::Welcomed { conn, run, live });
            }
            Notice::Rejected(rejection) => {
                self.connections[wire].is_broken = true;
                let conn = names[dialler].unwrap();
                self.give(dialler, Input::DialFailed { conn, rejection: Some(rejection) });
            }
            Notice::Start => self.give(acceptor, Input::Started { conn: names[acceptor].unwrap() }),
        }
    }

    fn tell_gone(&mut self, wire: usize) {
        let dialler = self.connections[wire].dialler;
        for side in [0, 1] {
            let Some(conn) = self.connections[wire].names[side] else { continue };
            let generation = self.connections[wire].generation;
            if side == dialler && self.adopted[side].get(&generation) != Some(&wire) {
                self.give(side, Input::DialFailed { conn, rejection: None });
            } else if self.connections[wire].dismissed_by == Some(1 - side) {
                self.give(side, Input::LostForGood { conn });
            } else {
                self.give(side, Input::Lost { conn });
            }
        }
    }

    fn tick(&mut self, side: usize) {
        if let Some(due) = self.machines[side].deadline() {
            self.now = self.now.max(due);
            self.give(side, Input::Tick);
        }
    }

    fn shared_connection(&self) -> Option<usize> {
        let current = |side: usize| {
            let conn = self.machines[side].current()?;
            Some(self.wire(side, conn))
        };
        let (one, two) = (current(0)?, current(1)?);
        (one == two && !self.connections[one].is_broken).then_some(one)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(usize),
    Tick(usize),
    Break(usize),
    Replace(usize),
    Redial(usize),
    Dismiss(usize),
    Want(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<usize>().prop_map(Step::Deliver),
        3 => (0..2_usize).prop_map(Step::Tick),
        1 => any::<usize>().prop_map(Step::Break),
        1 => (0..2_usize).prop_map(Step::Replace),
        1 => (0..2_usize).prop_map(Step::Redial),
        1 => (0..2_usize).prop_map(Step::Dismiss),
        1 => (0..2_usize).prop_map(Step::Want),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is lost, late or broken, both sides come to share one connection once the network
    /// works and none of them has dismissed the other, and never before have they adopted
    /// connections out of order, or dialled a dismissed run.
    #[test]
    fn both_sides_come_to_share_one_connection(
        wanting in prop::sample::select(vec![vec![0], vec![1], vec![0, 1]]),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut world = World::new(&wanting);
        for step in steps {
            match step {
                Step::Deliver(pick) => world.deliver(pick),
                Step::Tick(side) => world.tick(side),
                Step::Break(pick) if !world.connections.is_empty() => {
                    world.break_wire(pick % world.connections.len());
                }
                Step::Break(_) => {}
                Step::Replace(side) => world.give(side, Input::Replace),
                Step::Redial(side) => world.give(side, Input::Redial),
                Step::Dismiss(side) => {
                    let incarnation = world.runs[1 - side].incarnation;
                    world.give(side, Input::Dismissed(dismissal(incarnation)));
                }
                Step::Want(side) => world.give(side, Input::Wanted),
            }
        }
        for side in [0, 1] {
            if world.dismissed[side] {
                world.give(side, Input::Wanted);
            }
        }
        let mut rounds = 0;
        while world.shared_connection().is_none() || !world.on_the_way.is_empty() {
            rounds += 1;
            prop_assert!(rounds < 200, "no shared connection after {} rounds", rounds);
            while !world.on_the_way.is_empty() {
                world.deliver(0);
            }
            if world.shared_connection().is_none() {
                world.tick(rounds % 2);
            }
        }
    }
}
