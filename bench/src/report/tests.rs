use super::{Spread, Verdict, lines, table};
use crate::cpu::Usage;
use crate::peers::PeerKind;
use crate::rows::Row;
use crate::sample::Sample;

/// Samples of one row: figures of ours and of the baseline, one pair a round.
fn rounds(row: Row, pairs: &[(f64, f64)]) -> Vec<Sample> {
    let usage = Usage { elapsed_s: 1.0, cpu_s: 2.0, foreign_cpu_percent: 3.0 };
    let mut samples = Vec::new();
    for (round, (ours, base)) in (0..).zip(pairs) {
        for (peer, figure) in [(PeerKind::Vioduct, *ours), (row.baseline(), *base)] {
            let mut sample = Sample::new(row, peer, usage);
            sample.round = round;
            sample.rate_per_s = Some(figure);
            sample.mb_per_s = Some(figure);
            sample.p50_us = Some(figure);
            sample.p99_us = Some(figure);
            samples.push(sample);
        }
    }
    samples
}

fn verdict(row: Row, pairs: &[(f64, f64)]) -> Verdict {
    lines(&rounds(row, pairs), &[PeerKind::Vioduct]).first().unwrap().verdict
}

#[test]
fn the_ratio_is_the_median_of_the_ratios_within_a_round() {
    // The ratio of the medians would be 200 / 200.
    let samples = rounds(Row::Bulk, &[(100.0, 200.0), (200.0, 100.0), (300.0, 400.0)]);
    let line = lines(&samples, &[PeerKind::Vioduct]).pop().unwrap();
    assert_eq!(line.ratio, Some(Spread { median: 0.75, min: 0.5, max: 2.0 }));
    assert_eq!(line.value, Some(Spread { median: 200.0, min: 100.0, max: 300.0 }));
}

#[test]
fn a_latency_aim_is_missed_by_being_above_and_a_rate_aim_by_being_below() {
    assert_eq!(verdict(Row::RoundTrip1, &[(109.0, 100.0)]), Verdict::Met);
    assert!(
        matches!(verdict(Row::RoundTrip1, &[(150.0, 100.0)]), Verdict::MissedBy(x) if x > 0.39)
    );
    assert_eq!(verdict(Row::RoundTrip64, &[(90.0, 100.0)]), Verdict::Met);
    assert!(
        matches!(verdict(Row::RoundTrip64, &[(50.0, 100.0)]), Verdict::MissedBy(x) if x > 0.39)
    );
}

#[test]
fn the_mixed_row_is_judged_by_its_own_latency_even_when_bare_quinn_is_worse() {
    assert_eq!(verdict(Row::Mixed, &[(9_999.0, 1.0)]), Verdict::Met);
    assert_eq!(verdict(Row::Mixed, &[(12_000.0, 90_000.0)]), Verdict::MissedBy(2_000.0));
}

#[test]
fn one_way_is_compared_with_the_batched_stream() {
    let samples = rounds(Row::OneWay, &[(60.0, 100.0)]);
    assert!(samples.iter().any(|sample| sample.peer == PeerKind::QuinnBatched));
    assert_eq!(verdict(Row::OneWay, &[(60.0, 100.0)]), Verdict::Met);
}

#[test]
fn without_a_baseline_there_is_no_ratio_and_no_verdict() {
    let mut samples = rounds(Row::RoundTrip1024, &[(1.0, 1.0)]);
    samples.retain(|sample| sample.peer == PeerKind::Vioduct);
    let line = lines(&samples, &[PeerKind::Vioduct]).pop().unwrap();
    assert_eq!((line.ratio, line.verdict), (None, Verdict::NotJudged));
}

#[test]
fn the_table_has_the_ratio_before_the_absolute_figures() {
    let samples = rounds(Row::Connect, &[(1500.0, 1000.0)]);
    let text = table(&lines(&samples, &[PeerKind::Vioduct, PeerKind::Quinn]));
    let mut rows = text.lines();
    assert!(rows.next().unwrap().starts_with("row      peer     ratio  min..max"));
    assert!(rows.next().unwrap().starts_with("connect  vioduct  1.50x  1.50..1.50  -    -"));
    assert!(rows.next().unwrap().starts_with("connect  quinn    1.00x"));
    assert_eq!(rows.next(), None);
}
