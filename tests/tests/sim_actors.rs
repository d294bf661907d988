//! Actors over a simulated network: the same seed gives the same history, and every history keeps
//! what the runtime promises.

use std::collections::BTreeSet;

use vioduct_tests::sim::actors::{Fate, Meeting, What, breach, run};

const SEEDS: std::ops::Range<u64> = 1..21;

/// Runs all seeds twice; gives how many runs of nodes were expelled.
fn check(meeting: Meeting) -> usize {
    let (mut fates, mut runs, mut histories) = (BTreeSet::new(), 0, BTreeSet::new());
    let mut expelled = 0;
    for seed in SEEDS {
        let trace = run(seed, meeting).expect("the nodes run to the end");
        let again = run(seed, meeting).expect("the nodes run to the end");
        let different = trace.iter().zip(&again).find(|(one, other)| one != other);
        assert_eq!(different, None, "seed {seed} gives two histories");
        assert_eq!(trace.len(), again.len(), "seed {seed}");
        assert_eq!(breach(&trace), None, "seed {seed}");
        assert!(histories.insert(format!("{trace:?}")), "seed {seed} repeats another");
        for entry in &trace {
            match entry.what {
                What::Told { fate: Fate::Answered, .. } => drop(fates.insert("answered")),
                What::Told { fate: Fate::Not, .. } => drop(fates.insert("not")),
                What::Told { fate: Fate::Maybe, .. } => drop(fates.insert("maybe")),
                What::Handled { run, .. } => runs = runs.max(run),
                What::Expelled { .. } => expelled += 1,
                What::NoReference | What::Told { fate: Fate::Wrong, .. } => {}
            }
        }
    }
    // Faults that never bite would show nothing.
    assert_eq!(fates.len(), 3, "{fates:?}");
    assert!(runs > 1, "the answerer never crashed");
    expelled
}

#[test]
fn actors_keep_their_promises_through_faults_the_same_way_for_the_same_seed() {
    assert_eq!(check(Meeting::ByLink), 0);
}

#[test]
fn members_keep_them_as_well_and_start_anew_when_they_are_expelled() {
    let expelled = check(Meeting::ByMembership);
    assert!(expelled > 0, "nobody was ever expelled");
}
