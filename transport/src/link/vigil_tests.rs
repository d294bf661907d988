use proptest::prelude::*;

use super::*;

const KEEP_ALIVE: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

fn at(millis: u64) -> Instant {
    Instant::START.after(Duration::from_millis(millis))
}

/// Watching since the start, with no sign counted.
fn watching() -> Vigil {
    let mut vigil = Vigil::new(KEEP_ALIVE, IDLE_TIMEOUT);
    assert_eq!(vigil.deadline(), None);
    vigil.watch(at(0), 0);
    vigil
}

/// Looks whenever a look is due; what was done when, in milliseconds.
fn looks(
    vigil: &mut Vigil,
    until: Instant,
    mut seen: impl FnMut(Instant) -> (bool, u64),
) -> Vec<(u64, Effect)> {
    let mut done = Vec::new();
    while let Some(due) = vigil.deadline().filter(|due| *due <= until) {
        let (is_awaited, signs) = seen(due);
        if let Some(effect) = vigil.look(due, is_awaited, signs) {
            let millis = u64::try_from(due.since(Instant::START).as_millis()).unwrap();
            done.push((millis, effect));
        }
    }
    done
}

#[test]
fn a_silent_peer_is_asked_and_then_cut_after_the_idle_time_out() {
    let done = looks(&mut watching(), at(60_000), |_now| (true, 0));
    assert_eq!(done, [(2000, Effect::Ask), (4000, Effect::Ask), (6000, Effect::Cut)]);
}

#[test]
fn a_link_on_which_nobody_waits_any_more_rests_without_a_word() {
    let mut vigil = watching();
    assert_eq!(looks(&mut vigil, at(60_000), |_now| (false, 0)), []);
    assert_eq!(vigil.deadline(), None);
}

#[test]
fn a_peer_that_answers_is_asked_again_and_never_cut() {
    let mut vigil = watching();
    let mut asked = 0;
    let answered = looks(&mut vigil, at(20_000), |_now| {
        asked += 1;
        (true, asked / 2)
    });
    assert_eq!(answered, [2000, 6000, 10_000, 14_000, 18_000].map(|at| (at, Effect::Ask)));
}

#[test]
fn a_peer_that_talks_by_itself_is_not_asked() {
    let mut signs = 0;
    let done = looks(&mut watching(), at(20_000), |_now| {
        signs += 1;
        (true, signs)
    });
    assert_eq!(done, []);
}

#[test]
fn a_look_that_comes_late_asks_before_it_cuts() {
    let mut vigil = watching();
    assert_eq!(vigil.look(at(100_000), true, 0), Some(Effect::Ask));
    let rest = looks(&mut vigil, at(200_000), |_now| (true, 0));
    assert_eq!(rest, [(102_000, Effect::Ask), (104_000, Effect::Cut)]);
}

#[test]
fn a_look_that_is_not_due_changes_nothing() {
    let mut vigil = watching();
    assert_eq!(vigil.look(at(1999), true, 7), None);
    assert_eq!(vigil.deadline(), Some(at(2000)));
    assert_eq!(vigil.look(at(2000), true, 0), Some(Effect::Ask));
}

proptest! {
    /// Whoever begins to wait for a peer that has gone silent learns of it in time, and nobody is
    /// cut who gave a sign since it was asked.
    #[test]
    fn who_is_silent_is_found_in_time_and_who_answers_is_not(
        waits in prop::collection::vec((0_u64..20_000, 0_u64..20_000), 1..8),
        last_sign_ms in 0_u64..60_000,
        sign_every_ms in 1_u64..3000,
    ) {
        let (mut vigil, mut begins_ms, mut asked_at) = (watching(), 0, None);
        for (gap_ms, wait_ms) in waits {
            begins_ms += gap_ms;
            let ends_ms = begins_ms + wait_ms;
            let (begins, ends) = (at(begins_ms), at(ends_ms));
            let signs = |now: Instant| {
                let now_ms = u64::try_from(now.since(Instant::START).as_millis()).unwrap();
                now_ms.min(last_sign_ms) / sign_every_ms
            };
            looks(&mut vigil, begins, |now| (false, signs(now)));
            if vigil.deadline().is_none() {
                asked_at = None;
                vigil.watch(begins, signs(begins));
            }
            let mut cut_at = None;
            while let Some(due) = vigil.deadline().filter(|due| *due <= ends) {
                match vigil.look(due, true, signs(due)) {
                    Some(Effect::Ask) => drop(asked_at.get_or_insert((due, signs(due)))),
                    Some(Effect::Cut) => {
                        let (asked, counted) = asked_at.expect("asked before it is cut");
                        prop_assert_eq!(signs(due), counted);
                        prop_assert_eq!(due.since(asked), IDLE_TIMEOUT - KEEP_ALIVE);
                        cut_at = Some(due);
                    }
                    None => asked_at = None,
                }
            }
            let known_by = at(begins_ms).after(IDLE_TIMEOUT);
            let known_by = known_by.max(at(last_sign_ms).after(IDLE_TIMEOUT + KEEP_ALIVE));
            match cut_at {
                Some(cut_at) => {
                    prop_assert!(cut_at <= known_by);
                    return Ok(());
                }
                None => prop_assert!(ends < known_by),
            }
            begins_ms = ends_ms;
        }
    }
}
