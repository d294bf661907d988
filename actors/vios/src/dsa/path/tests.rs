use super::*;

const CONN: ConnId = ConnId(3);
const MS: Duration = Duration::from_millis(1);
const SOUND: Device = Device { oldest: Duration::ZERO, failures: 0 };

fn limits() -> DsaLimits {
    DsaLimits {
        beat_every: 200 * MS,
        silence_max: 1000 * MS,
        slow_round_trip: 50 * MS,
        slow_for: 2000 * MS,
        slow_device: 500 * MS,
        steady_for: 1000 * MS,
        steady_max: 8000 * MS,
    }
}

/// A path, the time, and a storage that does as it is told.
struct Stage {
    path: Path,
    now: Moment,
    conn: ConnId,
    /// How long an answer takes; `None` for a storage that does not answer.
    answers_in: Option<Duration>,
    is_heard: bool,
    device: Device,
    /// Answers on their way.
    coming: VecDeque<(Moment, u64)>,
    changes: Vec<(PathState, Reason)>,
}

impl Stage {
    /// Connected, and silent.
    fn connected() -> Self {
        let path = Path::new(limits(), Moment::START).unwrap();
        let mut stage = Self {
            path,
            now: Moment::START,
            conn: CONN,
            answers_in: None,
            is_heard: false,
            device: SOUND,
            coming: VecDeque::new(),
            changes: Vec::new(),
        };
        stage.handle(Input::Connected { conn: CONN });
        stage
    }

    /// Connected, and good.
    fn good() -> Self {
        let mut stage = Self::connected();
        stage.answers_in = Some(MS);
        stage.run(1000 * MS);
        assert_eq!(stage.changes(), [(Good, Reason::Answered)]);
        stage
    }

    fn handle(&mut self, input: Input) {
        self.path.handle(self.now, input);
        while let Some(effect) = self.path.poll() {
            match effect {
                Effect::Beat { no, conn } => {
                    assert_eq!(conn, self.conn);
                    if let Some(answers_in) = self.answers_in {
                        self.coming.push_back((self.now.after(answers_in), no));
                    }
                }
                Effect::Changed { from, to } => {
                    assert_ne!(from, to);
                    assert_eq!(to, self.path.status());
                    assert_eq!(self.path.since(), self.now);
                    self.changes.push((to.state, to.reason));
                }
            }
        }
    }

    /// Lets time pass, with the machine run when it is due.
    fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let answer = self.coming.front().map(|(at, _no)| *at);
            let due = self.path.deadline();
            let next = answer.into_iter().chain(due).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = next;
            if answer == Some(next) {
                let (at, no) = self.coming.pop_front().unwrap();
                let (conn, device) = (self.conn, self.device);
                self.handle(Input::Answered { conn, no, at, device });
            } else if self.is_heard {
                self.handle(Input::Heard);
            } else {
                self.handle(Input::TimePassed);
            }
        }
        self.now = end;
    }

    fn changes(&mut self) -> Vec<(PathState, Reason)> {
        std::mem::take(&mut self.changes)
    }

    /// Falls silent until the path is lost; how long that took.
    fn fall_silent(&mut self) -> Duration {
        self.answers_in = None;
        self.coming.clear();
        let began = self.now;
        self.run(5000 * MS);
        assert_eq!(self.path.status().state, Lost);
        self.path.since().since(began)
    }

    /// Answers again; how long until it is good.
    fn come_back(&mut self) -> Duration {
        self.answers_in = Some(MS);
        let began = self.now;
        while self.path.status().state != Good && self.now.since(began) < 20_000 * MS {
            self.run(10 * MS);
        }
        assert_eq!(self.path.status(), Status { state: Good, reason: Reason::Steady });
        self.path.since().since(began)
    }
}

use PathState::{Degraded, Good, Lost};

#[test]
fn a_path_is_good_with_its_first_answer_and_not_with_its_connection() {
    let mut stage = Stage::connected();
    assert_eq!(stage.path.status().state, Lost);
    stage.answers_in = Some(30 * MS);
    stage.run(1000 * MS);
    assert_eq!(stage.changes(), [(Good, Reason::Answered)]);
    assert_eq!(stage.path.round_trip(), Some(30 * MS));
}

#[test]
fn silence_is_noticed_within_its_bound_whenever_it_begins() {
    for offset in 0..10 {
        let mut stage = Stage::good();
        stage.run(offset * 23 * MS);
        let took = stage.fall_silent();
        assert!(took <= 1000 * MS && took >= 790 * MS, "{took:?}");
        assert_eq!(stage.changes(), [(Lost, Reason::Silent)]);
    }
}

#[test]
fn a_storage_that_speaks_but_answers_no_heartbeat_is_lost_as_soon_and_that_is_said() {
    let mut stage = Stage::good();
    stage.is_heard = true;
    assert!(stage.fall_silent() <= 1000 * MS);
    assert_eq!(stage.changes(), [(Lost, Reason::Unanswered)]);
}

#[test]
fn a_connection_that_is_gone_is_noticed_at_once_and_no_heartbeat_is_sent() {
    let mut stage = Stage::good();
    stage.handle(Input::Lost { conn: ConnId(2) });
    assert_eq!(stage.changes(), [], "that was another one");
    stage.handle(Input::Lost { conn: CONN });
    assert_eq!(stage.changes(), [(Lost, Reason::ConnectionLost)]);
    assert_eq!(stage.path.deadline(), None);
    stage.handle(Input::Connected { conn: CONN });
    assert_eq!(stage.path.deadline(), None, "told late: it is gone");
}

#[test]
fn a_path_that_comes_back_is_of_use_at_once_and_good_only_after_a_while() {
    let mut stage = Stage::good();
    stage.fall_silent();
    stage.changes();
    assert_eq!(stage.come_back().as_millis() / 100, 12, "one heartbeat, then a second");
    assert_eq!(stage.changes(), [(Degraded, Reason::Unproven), (Good, Reason::Steady)]);
}

#[test]
fn a_new_connection_must_answer_by_itself() {
    let mut stage = Stage::good();
    stage.conn = ConnId(4);
    stage.coming.clear();
    stage.answers_in = None;
    stage.handle(Input::Connected { conn: ConnId(4) });
    assert_eq!(stage.changes(), [(Lost, Reason::ConnectionLost)]);
    for no in 0..20 {
        let (conn, at) = (CONN, stage.now);
        stage.handle(Input::Answered { conn, no, at, device: SOUND });
    }
    assert_eq!(stage.changes(), []);
    stage.answers_in = Some(MS);
    stage.run(300 * MS);
    assert_eq!(stage.changes(), [(Degraded, Reason::Unproven)]);
}

#[test]
fn answers_to_heartbeats_that_were_sent_before_the_silence_prove_nothing() {
    let mut stage = Stage::good();
    stage.answers_in = Some(3000 * MS);
    stage.run(10_000 * MS);
    assert_eq!(stage.changes(), [(Lost, Reason::Silent)], "all answers are too late");
}

#[test]
fn answers_to_heartbeats_that_were_never_sent_are_not_looked_at() {
    let mut stage = Stage::good();
    stage.answers_in = None;
    stage.coming.clear();
    for round in 0..100 {
        stage.run(20 * MS);
        let (conn, at, device) = (CONN, stage.now, SOUND);
        for no in [0, 1, 1000 + round, u64::MAX] {
            stage.handle(Input::Answered { conn, no, at, device });
        }
    }
    assert_eq!(stage.changes(), [(Lost, Reason::Silent)]);
}

#[test]
fn each_flap_lengthens_the_wait_up_to_a_bound_and_a_long_good_time_forgives_them() {
    let mut stage = Stage::good();
    let waits: Vec<u128> = (0..6)
        .map(|_flap| {
            stage.fall_silent();
            stage.come_back().as_millis() / 1000
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    stage.run(10_000 * MS);
    stage.fall_silent();
    assert_eq!(stage.come_back().as_millis() / 1000, 1);
}

#[test]
fn slow_heartbeats_degrade_a_path_after_a_while_and_it_is_good_again_after_a_while() {
    let mut stage = Stage::good();
    stage.answers_in = Some(300 * MS);
    stage.run(1000 * MS);
    assert_eq!(stage.changes(), [], "a short time is nothing");
    stage.run(3000 * MS);
    assert_eq!(stage.changes(), [(Degraded, Reason::Slow)]);
    assert_eq!(stage.path.status().for_routing(), Degraded);
    stage.run(60_000 * MS);
    assert_eq!(stage.changes(), [], "told once");
    stage.answers_in = Some(MS);
    stage.run(10_000 * MS);
    assert_eq!(stage.changes(), [(Good, Reason::Steady)]);
}

#[test]
fn a_hung_device_degrades_the_path_but_sends_no_session_elsewhere() {
    let mut stage = Stage::good();
    stage.device.oldest = 501 * MS;
    stage.run(300 * MS);
    assert_eq!(stage.changes(), [(Degraded, Reason::DeviceSlow)]);
    assert_eq!(stage.path.status().for_routing(), Good);
    stage.run(60_000 * MS);
    stage.device.oldest = Duration::ZERO;
    stage.run(500 * MS);
    assert_eq!(stage.changes(), []);
    stage.run(1000 * MS);
    assert_eq!(stage.changes(), [(Good, Reason::Steady)]);
}

#[test]
fn a_device_that_fails_operations_is_noticed_and_one_that_was_started_anew_is_not() {
    let mut stage = Stage::good();
    stage.device.failures = 7;
    stage.run(300 * MS);
    assert_eq!(stage.changes(), [(Degraded, Reason::DeviceErrors)]);
    stage.run(2000 * MS);
    assert_eq!(stage.changes(), [(Good, Reason::Steady)]);
    stage.device.failures = 0;
    stage.run(2000 * MS);
    assert_eq!(stage.changes(), []);
}

#[test]
fn a_path_that_was_failed_by_hand_stays_lost_until_it_is_restored_by_hand() {
    let mut stage = Stage::good();
    stage.handle(Input::RestoredByHand);
    assert_eq!(stage.changes(), [], "it was not failed");
    stage.handle(Input::FailedByHand);
    assert_eq!(stage.changes(), [(Lost, Reason::ByHand)]);
    stage.run(10_000 * MS);
    stage.fall_silent();
    stage.handle(Input::Lost { conn: CONN });
    stage.conn = ConnId(4);
    stage.answers_in = Some(MS);
    stage.handle(Input::Connected { conn: ConnId(4) });
    stage.run(10_000 * MS);
    assert_eq!(stage.changes(), [], "whatever happens");
    stage.handle(Input::RestoredByHand);
    stage.run(2000 * MS);
    assert_eq!(stage.changes(), [(Degraded, Reason::Unproven), (Good, Reason::Steady)]);
}

#[test]
fn a_path_is_restored_by_hand_to_what_it_is() {
    let mut silent = Stage::good();
    silent.handle(Input::FailedByHand);
    silent.fall_silent();
    silent.handle(Input::RestoredByHand);
    assert_eq!(silent.changes(), [(Lost, Reason::ByHand), (Lost, Reason::Silent)]);
    let mut cut = Stage::good();
    cut.handle(Input::FailedByHand);
    cut.handle(Input::Lost { conn: CONN });
    cut.handle(Input::RestoredByHand);
    assert_eq!(cut.changes(), [(Lost, Reason::ByHand), (Lost, Reason::ConnectionLost)]);
}

#[test]
fn a_machine_that_was_not_run_gives_answers_that_lie_unread_a_chance() {
    let mut stage = Stage::good();
    stage.run(100 * MS);
    // The process stands still for a minute, with answers in its queues.
    stage.now = stage.now.after(60_000 * MS);
    stage.handle(Input::TimePassed);
    assert_eq!(stage.changes(), []);
    stage.run(5000 * MS);
    assert_eq!(stage.changes(), []);
    stage.now = stage.now.after(60_000 * MS);
    stage.handle(Input::TimePassed);
    assert!(stage.fall_silent() <= 1000 * MS, "a pause does not hide a silence after it");
}

#[test]
fn a_machine_that_is_always_run_late_still_notices_silence() {
    let mut stage = Stage::good();
    stage.coming.clear();
    stage.answers_in = None;
    let began = stage.now;
    while stage.path.status().state != Lost {
        // Twice its period between two runs.
        let due = stage.path.deadline().unwrap();
        stage.now = due.after(200 * MS);
        stage.handle(Input::TimePassed);
        assert!(stage.now.since(began) < 3000 * MS);
    }
}

#[test]
fn an_answer_counts_from_when_it_came_and_not_from_when_it_was_read() {
    let mut stage = Stage::good();
    stage.answers_in = None;
    stage.run(200 * MS);
    let no = stage.path.last_no;
    let sent_at = stage.path.line.as_ref().unwrap().sent.back().unwrap().1;
    let at = sent_at.after(MS);
    stage.now = sent_at.after(180 * MS);
    stage.handle(Input::Answered { conn: CONN, no, at, device: SOUND });
    assert_eq!(stage.path.round_trip(), Some(MS));
}
