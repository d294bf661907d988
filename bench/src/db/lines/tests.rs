use vioduct_bench_harness::store::{Latency, StoreKind, StoreLoad, StoreRow, StoreSample};

use super::{Line, lines, render};
use crate::report::Spread;

fn sample(row: StoreRow, store: StoreKind, round: u32, rate_per_s: f64) -> StoreSample {
    StoreSample {
        row,
        store,
        round,
        operations: 1000,
        elapsed_s: 1.0,
        rate_per_s,
        latency: Latency { p50_us: 1e6 / rate_per_s, p99_us: 2e6 / rate_per_s },
        notice: matches!(row.load(), StoreLoad::Watched { .. })
            .then_some(Latency { p50_us: 5.0, p99_us: 6.0 }),
        servers_cpu_s: 0.5,
        client_cpu_s: 0.25,
        foreign_cpu_percent: 0.0,
    }
}

/// The line of a row with these rates of ours and of etcd's, one pair a round.
fn line(row: StoreRow, pairs: &[(f64, f64)]) -> Line {
    let mut samples = Vec::new();
    for (round, (ours, etcd)) in (0..).zip(pairs) {
        samples.push(sample(row, StoreKind::Vioduct, round, *ours));
        samples.push(sample(row, StoreKind::Etcd, round, *etcd));
    }
    let [line] = lines(&samples).try_into().unwrap();
    line
}

#[test]
fn the_ratio_is_the_median_of_the_ratios_within_a_round() {
    // The ratio of the medians would be 200 / 200.
    let line = line(StoreRow::Put32, &[(100.0, 200.0), (200.0, 100.0), (300.0, 400.0)]);
    assert_eq!(line.ratio, Some(Spread { median: 0.75, min: 0.5, max: 2.0 }));
    assert_eq!(line.vioduct.map(|medians| medians.rate_per_s), Some(200.0));
}

#[test]
fn an_aim_is_met_at_its_bound_and_missed_below_by_the_median_alone() {
    let met = |row, pairs: &[(f64, f64)]| line(row, pairs).is_met;
    for (row, bound) in [
        (StoreRow::Put1, 200.0),
        (StoreRow::Put256, 300.0),
        (StoreRow::Get1, 200.0),
        (StoreRow::Get256, 300.0),
    ] {
        assert_eq!(met(row, &[(bound, 100.0)]), Some(true), "{row}");
        assert_eq!(met(row, &[(bound - 1.0, 100.0)]), Some(false), "{row}");
        // The best round is not what counts.
        assert_eq!(met(row, &[(1.0, 100.0), (2.0, 100.0), (9999.0, 100.0)]), Some(false), "{row}");
    }
    assert_eq!(met(StoreRow::Put32, &[(1.0, 100.0)]), None);
}

#[test]
fn who_watches_is_compared_by_the_median_latency_and_less_is_better() {
    let met = |ours| line(StoreRow::Watch10, &[(ours, 100.0)]).is_met;
    assert_eq!((met(200.0), met(199.0)), (Some(true), Some(false)));
    let text = render(&[line(StoreRow::Watch10, &[(200.0, 100.0)])]);
    assert!(text.contains("<= 0.50x  met"), "{text}");
    assert!(text.contains("5 / 5        6 / 6"), "{text}");
}

#[test]
fn the_table_has_both_figures_their_ratio_and_the_verdict_in_a_line() {
    let text = render(&[line(StoreRow::Put1, &[(1000.0, 800.0)])]);
    let row = text.lines().nth(1).unwrap();
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    let expected = [
        "put-1",
        "1000 / 800",
        "1.25x",
        "1.25..1.25",
        ">= 2.00x",
        "MISSED",
        "1000 / 1250",
        "2000 / 2500",
        "-",
        "-",
        "500 / 500",
        "250 / 250",
    ];
    assert_eq!(cells, expected);
}

#[test]
fn a_store_that_was_not_measured_leaves_no_ratio_and_no_verdict() {
    let samples = [sample(StoreRow::Get1, StoreKind::Vioduct, 0, 1000.0)];
    let [line] = lines(&samples).try_into().unwrap();
    assert_eq!((line.ratio, line.is_met), (None, None));
    assert!(render(&[line]).contains("get-1  1000 / -"));
}
