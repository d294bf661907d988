//! The transport over a simulated network: the same seed gives the same history, different seeds
//! different ones, and every history keeps the invariants.

use std::collections::BTreeSet;

use vioduct_tests::sim::{Report, Setup, run};

const SEEDS: std::ops::Range<u64> = 1..21;
/// Seeds in which a certificate is revoked, or runs out, while a handshake with it is under way.
const SEEDS_OF_LATE_REFUSALS: [u64; 2] = [29, 57];

/// Runs a simulation. What it did wrong is printed with the command that shows it again.
fn simulate(seed: u64, nodes: u8) -> Report {
    let setup = Setup::new(seed, nodes).expect("a number of nodes that there may be");
    let report = run(setup).expect("the nodes run to the end");
    for violation in &report.violations {
        eprintln!("seed {seed}: {violation}");
    }
    if !report.violations.is_empty() {
        eprintln!("  again with: {}", command(seed, nodes));
    }
    report
}

fn command(seed: u64, nodes: u8) -> String {
    format!("cargo xtask sim --seed {seed} --nodes {nodes} --trace")
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_seed_another_one() {
    let mut hashes = BTreeSet::new();
    for seed in SEEDS {
        let (one, other) = (simulate(seed, 2), simulate(seed, 2));
        let different = one.events.iter().zip(&other.events).find(|(one, other)| one != other);
        assert_eq!(one.trace_hash, other.trace_hash, "{}: {different:?}", command(seed, 2));
        assert_eq!(one.events, other.events, "{}", command(seed, 2));
        assert!(hashes.insert(one.trace_hash), "seed {seed} repeats the history of another");
    }
}

#[test]
fn two_nodes_keep_the_invariants_through_faults_and_get_on_afterwards() {
    let seeds = SEEDS.chain(SEEDS_OF_LATE_REFUSALS);
    let reports: Vec<_> = seeds.map(|seed| simulate(seed, 2)).collect();
    let total = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    // Faults that never bite would show nothing.
    assert!(total(|report| report.counts.restarts) > 20);
    assert!(total(|report| report.counts.maybe) > 100);
    assert!(total(|report| report.counts.not) > 100);
    assert!(total(|report| report.counts.delivered) > 10_000);
    assert!(total(|report| report.counts.replaced) > 50);
    assert!(total(|report| report.counts.evicted) > 10);
    assert!(total(|report| report.counts.closed) > 10);
    assert_eq!(broken(&reports), Vec::<u64>::new());
}

#[test]
fn three_nodes_keep_the_invariants() {
    let reports: Vec<_> = (1..6).map(|seed| simulate(seed, 3)).collect();
    assert_eq!(broken(&reports), Vec::<u64>::new());
}

/// Seeds whose history breaks an invariant.
fn broken(reports: &[Report]) -> Vec<u64> {
    let broken = reports.iter().filter(|report| !report.violations.is_empty());
    broken.map(|report| report.seed).collect()
}
