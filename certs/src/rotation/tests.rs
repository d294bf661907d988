use proptest::prelude::{any, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;
use crate::moment::at;

#[test]
fn a_week_is_renewed_at_two_thirds() {
    let issued = 1_800_000_000;
    let (start, week) = (at(issued - 300), 7 * 86_400);
    for seed in 0..1_000 {
        let schedule = Schedule::new(start, at(issued + week), seed);
        let share = (schedule.renew_at().as_secs() - issued) as f64 / week as f64;
        assert!((0.633..0.7).contains(&share), "{share}");
    }
}

#[test]
fn a_minute_has_room_for_its_renewal() {
    let schedule = Schedule::new(at(1_000_000 - 300), at(1_000_060), 7);
    let renew_at = schedule.renew_at().as_secs();
    assert!((1_000_037..=1_000_042).contains(&renew_at), "{renew_at}");
}

#[test]
fn urgency_has_these_levels() {
    let issued = 1_800_000_000;
    let schedule = Schedule::new(at(issued - 300), at(issued + 1_000), 0);
    let urgency = |secs| schedule.urgency(at(issued + secs));
    assert_eq!(urgency(0), Urgency::Fresh);
    assert_eq!(urgency(699), Urgency::Due);
    assert_eq!(urgency(700), Urgency::Warning);
    assert_eq!(urgency(900), Urgency::Critical);
    assert_eq!(urgency(1_000), Urgency::Critical);
    assert_eq!(urgency(1_001), Urgency::Expired);
    assert_eq!(schedule.time_left(at(issued + 400)), Duration::from_secs(600));
    assert_eq!(schedule.time_left(at(issued + 2_000)), Duration::ZERO);
}

#[test]
fn waits_double_to_their_bound_and_shorten_towards_the_end_of_life() {
    let secs = Duration::from_secs;
    let bounds = RetryBounds { min: secs(5), max: secs(600) };
    let wait = |failures, left| retry_wait(bounds, failures, left, 9);
    let week = secs(7 * 86_400);
    for (failures, step) in [(1, 5), (2, 10), (3, 20), (7, 320), (8, 600), (99, 600)] {
        let waited = wait(failures, week);
        assert!(waited >= secs(step) / 2 && waited <= secs(step), "{failures}: {waited:?}");
    }
    assert!(wait(99, secs(800)) <= secs(100));
    assert!(wait(99, secs(1)) <= secs(5));
    assert!(wait(99, Duration::ZERO) >= secs(5) / 2);
    let spread: std::collections::BTreeSet<_> =
        (0..100).map(|seed| retry_wait(bounds, 8, week, seed)).collect();
    assert!(spread.len() > 90, "{}", spread.len());
}

proptest! {
    #[test]
    fn renewal_comes_in_life_and_before_the_warning(
        start in 0_u64..1 << 40, life in 0_u64..1 << 40, seed in any::<u64>(),
    ) {
        let (not_before, not_after) = (at(start), at(start.saturating_add(life)));
        let schedule = Schedule::new(not_before, not_after, seed);
        prop_assert!(not_before <= schedule.renew_at);
        prop_assert!(schedule.renew_at <= schedule.warning_at);
        prop_assert!(schedule.warning_at <= schedule.critical_at);
        prop_assert!(schedule.critical_at <= schedule.not_after);
    }

    #[test]
    fn levels_only_rise_and_change_when_announced(
        start in 0_u64..1 << 40, life in 1_000_u64..1 << 32, seed in any::<u64>(),
        early in 0_u64..1 << 33,
    ) {
        let schedule = Schedule::new(at(start), at(start.saturating_add(life)), seed);
        let now = at(start.saturating_add(early));
        match schedule.next_change(now) {
            Some(change) => {
                prop_assert!(change > now);
                prop_assert!(schedule.urgency(change) > schedule.urgency(now));
                let just_before = before(change, Duration::from_secs(1));
                prop_assert_eq!(schedule.urgency(just_before), schedule.urgency(now));
            }
            None => prop_assert_eq!(schedule.urgency(now), Urgency::Expired),
        }
    }

    #[test]
    fn a_link_goes_before_either_certificate(
        now in 0_u64..1 << 40, own in 0_u64..1 << 41, peer in 0_u64..1 << 41, seed in any::<u64>(),
    ) {
        let replaced = link_replacement(at(now), at(own), at(peer), seed);
        prop_assert!(replaced >= at(now));
        let expiry = own.min(peer);
        if expiry > now.saturating_add(3) {
            prop_assert!(replaced.as_secs().saturating_add(2) <= expiry);
            // Never earlier than it has to be: seven eighths of the time are used.
            let used = replaced.as_secs().saturating_sub(now);
            prop_assert!(used.saturating_add(4) >= expiry.saturating_sub(now) / 8 * 7);
        }
    }
}
