use std::time::Duration;

use super::{
    DELAY_MAX, Faults, FaultsError, LossCause, QUEUE_BYTES_MAX, REORDER_HOLD_MAX, REORDER_HOLD_MIN,
    Schedule, Verdict,
};
use crate::fault::Direction::{self, ToClient, ToTarget};
use crate::fault::Instant;

const MS: Duration = Duration::from_millis(1);

fn ms(count: u32) -> Instant {
    Instant::START.after(MS * count)
}

/// A schedule with `faults` towards the target.
fn schedule(seed: u64, faults: Faults) -> Schedule {
    let mut schedule = Schedule::new(seed);
    schedule.set(ToTarget, faults);
    schedule
}

/// The verdicts on `count` datagrams of 100 bytes, one a millisecond.
fn verdicts(schedule: &mut Schedule, direction: Direction, count: u32) -> Vec<Verdict> {
    (0..count).map(|index| schedule.handle(ms(index), direction, 100)).collect()
}

/// All faults at once, of strengths that follow from `seed`.
fn mixed(seed: u32) -> Faults {
    let share = |step: u32| f64::from((seed * 7 + step * 3) % 11) / 10.0;
    Faults::none()
        .with_loss(share(1) / 2.0)
        .and_then(|faults| faults.with_reorder(share(2)))
        .and_then(|faults| faults.with_duplicate(share(3)))
        .and_then(|faults| faults.with_delay(MS * (seed % 5)))
        .and_then(|faults| faults.with_jitter(MS * (seed % 4) * 10))
        .and_then(|faults| faults.with_rate(seed.is_multiple_of(2).then_some(50_000)))
        .expect("within range")
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let none = Faults::none();
    let share = |field, value| Err(FaultsError::Share { field, value });
    assert_eq!(none.with_loss(1.1), share("loss", 1.1));
    assert_eq!(none.with_reorder(-0.1), share("reorder", -0.1));
    assert_eq!(none.with_duplicate(f64::INFINITY), share("duplicate", f64::INFINITY));
    assert!(none.with_loss(f64::NAN).is_err());
    let value = DELAY_MAX + MS;
    assert_eq!(none.with_delay(value), Err(FaultsError::TooLong { field: "delay", value }));
    assert_eq!(none.with_jitter(value), Err(FaultsError::TooLong { field: "jitter", value }));
    assert_eq!(none.with_rate(Some(0)), Err(FaultsError::RateZero));
    assert_eq!(
        none.with_loss(1.5).map_err(|error| error.to_string()),
        Err("loss is 1.5, not a share between 0 and 1".to_owned())
    );
}

#[test]
fn without_faults_each_leaves_as_it_arrives() {
    let mut schedule = Schedule::new(1);
    for index in 0..100 {
        assert_eq!(schedule.handle(ms(index), ToTarget, 1_000_000), Verdict::Once(ms(index)));
    }
}

#[test]
fn the_same_seed_gives_the_same_verdicts() {
    for seed in 0..50 {
        let run = |seed: u32| verdicts(&mut schedule(seed.into(), mixed(seed)), ToTarget, 200);
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    let loss = Faults::none().with_loss(0.5).expect("share");
    let run = |seed| verdicts(&mut schedule(seed, loss), ToTarget, 200);
    assert_ne!(run(1), run(2));
}

#[test]
fn neither_the_other_direction_nor_a_cut_shifts_the_draws() {
    let loss = Faults::none().with_loss(0.5).expect("share");
    let alone = verdicts(&mut schedule(3, loss), ToTarget, 200);

    let mut disturbed = schedule(3, loss);
    let mut seen = Vec::new();
    for index in 0..200 {
        disturbed.handle(ms(index), ToClient, 5);
        disturbed.set(ToTarget, loss.with_cut((50..100).contains(&index)));
        seen.push(disturbed.handle(ms(index), ToTarget, 100));
    }
    assert_eq!(seen[..50], alone[..50]);
    assert!(seen[50..100].iter().all(|verdict| *verdict == Verdict::Lost(LossCause::Cut)));
    assert_eq!(seen[100..], alone[100..]);
}

#[test]
fn losses_are_near_their_share() {
    for (seed, loss) in [(1, 0.01), (2, 0.05), (3, 0.2), (4, 0.5)] {
        let faults = Faults::none().with_loss(loss).expect("share");
        let lost = verdicts(&mut schedule(seed, faults), ToTarget, 10_000)
            .iter()
            .filter(|verdict| **verdict == Verdict::Lost(LossCause::Chance))
            .count();
        let expected = 10_000.0 * loss;
        let five_sigma = 5.0 * (expected * (1.0 - loss)).sqrt();
        let lost = f64::from(u32::try_from(lost).expect("at most 10,000"));
        assert!((lost - expected).abs() < five_sigma, "{lost} lost of 10,000 at {loss}");
    }
}

#[test]
fn a_loss_of_one_loses_all_and_of_zero_none() {
    let all = Faults::none().with_loss(1.0).expect("share");
    let seen = verdicts(&mut schedule(9, all), ToTarget, 1_000);
    assert!(seen.iter().all(|verdict| *verdict == Verdict::Lost(LossCause::Chance)));
    let seen = verdicts(&mut schedule(9, Faults::none()), ToTarget, 1_000);
    assert!(seen.iter().all(|verdict| matches!(verdict, Verdict::Once(_))));
}

#[test]
fn a_cut_drops_its_own_direction_only() {
    let mut schedule = schedule(1, Faults::none().with_cut(true));
    assert_eq!(schedule.handle(ms(1), ToTarget, 10), Verdict::Lost(LossCause::Cut));
    assert_eq!(schedule.handle(ms(1), ToClient, 10), Verdict::Once(ms(1)));
    schedule.set(ToTarget, Faults::none());
    assert_eq!(schedule.handle(ms(2), ToTarget, 10), Verdict::Once(ms(2)));
}

#[test]
fn a_delay_is_added_and_jitter_stays_within_its_bound() {
    let delay = Faults::none().with_delay(MS * 50).expect("short");
    for (index, verdict) in (0..).zip(verdicts(&mut schedule(1, delay), ToTarget, 100)) {
        assert_eq!(verdict, Verdict::Once(ms(index + 50)));
    }
    let jitter = delay.with_jitter(MS * 20).expect("short");
    let seen = verdicts(&mut schedule(1, jitter), ToTarget, 1_000);
    let mut distinct = std::collections::BTreeSet::new();
    for (index, verdict) in (0..).zip(seen) {
        let Verdict::Once(at) = verdict else { panic!("{verdict:?}") };
        assert!((ms(index + 50)..=ms(index + 70)).contains(&at), "{index}: {at:?}");
        distinct.insert(at.since(ms(index)));
    }
    assert!(distinct.len() > 100, "{} delays", distinct.len());
}

#[test]
fn jitter_alone_keeps_the_order() {
    for seed in 0..20 {
        let faults = Faults::none().with_jitter(MS * 100).expect("short");
        let seen = verdicts(&mut schedule(seed, faults), ToTarget, 500);
        let departures: Vec<_> = seen.iter().flat_map(|verdict| verdict.departures()).collect();
        assert_eq!(departures.len(), 500);
        assert!(departures.is_sorted(), "seed {seed}");
    }
}

#[test]
fn reordering_lets_later_ones_pass() {
    let faults = Faults::none().with_reorder(0.1).expect("share");
    let seen = verdicts(&mut schedule(5, faults), ToTarget, 10_000);
    let mut held = 0;
    let mut order = Vec::new();
    for (index, verdict) in (0..).zip(seen) {
        let Verdict::Once(at) = verdict else { panic!("{verdict:?}") };
        order.push((at, index));
        let extra = at.since(ms(index));
        if !extra.is_zero() {
            assert!((REORDER_HOLD_MIN..=REORDER_HOLD_MAX).contains(&extra), "{extra:?}");
            held += 1;
        }
    }
    assert!((850..1_150).contains(&held), "{held} held of 10,000");
    order.sort_unstable();
    let mut newest = 0;
    let mut overtaken = 0;
    for (_at, index) in order {
        overtaken += i32::from(index < newest);
        newest = newest.max(index);
    }
    // Each was held for two arrivals at least; one is overtaken unless those were held as well.
    assert!(overtaken > held * 9 / 10, "{overtaken} overtaken, {held} held");
}

#[test]
fn duplicates_leave_twice_and_not_earlier() {
    let faults = Faults::none().with_duplicate(0.3).expect("share");
    let seen = verdicts(&mut schedule(6, faults), ToTarget, 10_000);
    let mut twice = 0;
    for (index, verdict) in (0..).zip(seen) {
        match verdict {
            Verdict::Once(at) => assert_eq!(at, ms(index)),
            Verdict::Twice(at, copy_at) => {
                twice += 1;
                assert_eq!(at, ms(index));
                assert!(copy_at >= at && copy_at.since(at) <= REORDER_HOLD_MAX);
            }
            Verdict::Lost(cause) => panic!("{cause:?}"),
        }
    }
    assert!((2_700..3_300).contains(&twice), "{twice} of 10,000");
}

#[test]
fn a_rate_spaces_departures_and_bounds_its_queue() {
    let faults = Faults::none().with_rate(Some(1_000_000)).expect("rate");
    let mut schedule = schedule(1, faults);
    let fits = u32::try_from(QUEUE_BYTES_MAX / 1_000).expect("262");
    for index in 0..fits {
        // 1,000 bytes take 1 ms at 1 MB/s.
        assert_eq!(schedule.handle(ms(0), ToTarget, 1_000), Verdict::Once(ms(index + 1)));
    }
    let full = Verdict::Lost(LossCause::QueueFull);
    assert_eq!(schedule.handle(ms(0), ToTarget, 1_000), full);
    assert_eq!(schedule.handle(ms(1), ToTarget, 1_000), Verdict::Once(ms(fits + 1)));
    assert_eq!(schedule.handle(ms(1), ToTarget, 1_000), full);
    // After a pause the line is free, and no credit was saved up.
    assert_eq!(schedule.handle(ms(5_000), ToTarget, 1_000), Verdict::Once(ms(5_001)));
    assert_eq!(schedule.handle(ms(5_000), ToTarget, 1_000), Verdict::Once(ms(5_002)));
}

#[test]
fn no_load_gets_more_than_the_rate_through() {
    for seed in 0..30_u32 {
        let rate = u64::from(10_000 + seed * 7_919);
        let faults = Faults::none()
            .with_rate(Some(rate))
            .and_then(|faults| faults.with_duplicate(0.5))
            .expect("within range");
        let mut schedule = schedule(seed.into(), faults);
        let mut departed = 0;
        let mut last = Instant::START;
        for index in 0..2_000_u32 {
            let size = 1 + (index * 31 + seed) % 1_400;
            for at in schedule.handle(ms(index / 3), ToTarget, size as usize).departures() {
                departed += u64::from(size);
                last = last.max(at);
            }
        }
        let allowed = last.since(Instant::START).as_nanos() * u128::from(rate) / 1_000_000_000;
        assert!(u128::from(departed) <= allowed, "{departed} of {allowed} at {rate}");
    }
}

#[test]
fn no_fault_ever_sends_into_the_past() {
    for seed in 0..50 {
        let seen = verdicts(&mut schedule(seed.into(), mixed(seed)), ToTarget, 300);
        for (index, verdict) in (0..).zip(seen) {
            assert!(verdict.departures().all(|at| at >= ms(index)), "seed {seed}: {verdict:?}");
        }
    }
}
