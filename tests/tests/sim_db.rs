//! The database over a simulated network: every history is linearizable and every seed recovers,
//! the same seed gives the same history, and faults that are planted are found.

use std::collections::BTreeSet;

use vioduct_tests::sim::db::{Plant, Report, Setup, run};

/// How many seeds run in the tests; more by `cargo xtask sim db --seeds`.
const SEEDS: u64 = 10;
/// A seed in which a leader is killed and starts again before the others miss it, and is read from.
const SEED_OF_EARLY_READS: u64 = 57;
/// A seed in which a leader starts again that is further from a client than that one pauses.
const SEED_OF_A_FAR_LEADER: u64 = 104;
/// Seeds within which a planted fault has to be found.
const PLANT_SEEDS: u64 = 5;

fn simulate(seed: u64) -> Report {
    let setup = Setup { seed, plant: None };
    let report = run(setup).expect("the nodes run to the end");
    eprintln!("{report}");
    if !report.violations.is_empty() {
        eprintln!("  again with: {}", setup.command());
    }
    report
}

#[test]
fn clients_see_one_copy_of_the_data_through_faults_and_are_served_after_them() {
    let seeds = (1..=SEEDS).chain([SEED_OF_EARLY_READS, SEED_OF_A_FAR_LEADER]);
    let reports: Vec<_> = seeds.map(simulate).collect();
    let hashes: BTreeSet<u64> = reports.iter().map(|report| report.trace_hash).collect();
    assert_eq!(hashes.len(), reports.len(), "seeds repeat each other");
    // Faults that never bite would show nothing.
    assert!(reports.iter().map(|report| report.leaders).sum::<usize>() > 2 * reports.len());
    assert!(reports.iter().map(|report| report.unknown).sum::<u64>() > 0);
    assert!(reports.iter().map(|report| report.moved).sum::<usize>() > 0);
    let broken = reports.iter().filter(|report| !report.violations.is_empty());
    let broken: Vec<u64> = broken.map(|report| report.setup.seed).collect();
    assert_eq!(broken, Vec::<u64>::new());
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 1..=2 {
        let (one, other) = (simulate(seed), simulate(seed));
        let different = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert_eq!(different, None, "seed {seed}");
        assert_eq!(one.trace_hash, other.trace_hash, "seed {seed}");
    }
}

/// Whether some seed shows that something is wrong; with what it says.
fn finds(plant: Plant) -> Option<String> {
    (1..=PLANT_SEEDS).find_map(|seed| match run(Setup { seed, plant: Some(plant) }) {
        Ok(report) => report.violations.into_iter().next(),
        Err(error) => Some(error.to_string()),
    })
}

#[test]
fn a_log_that_says_synced_before_it_is_gets_found_out() {
    assert_ne!(finds(Plant::HastyLog), None);
}

#[test]
fn a_stale_read_given_as_a_linearizable_one_is_found_out() {
    let found = finds(Plant::StaleRead).expect("it is found");
    assert!(found.starts_with("not linearizable"), "{found}");
}

#[test]
fn a_lost_write_is_found_out() {
    let found = finds(Plant::LostWrite).expect("it is found");
    assert!(found.starts_with("not linearizable"), "{found}");
}
