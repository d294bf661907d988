use vioduct_bench_harness::cpu::Usage;
use vioduct_bench_harness::peer::PeerKind;
use vioduct_bench_harness::rows::{Metric, Row};
use vioduct_bench_harness::sample::Sample;

use super::{Failure, Line, Spread, Verdict, lines};
use crate::scheme::{Against, Figure, Scheme};
use crate::{runtime, table, transport};

const USAGE: Usage = Usage { elapsed_s: 1.0, cpu_s: 2.0, foreign_cpu_percent: 3.0 };

fn sample(row: Row, peer: PeerKind, round: u32, figure: f64) -> Sample {
    Sample {
        round,
        rate_per_s: Some(figure),
        mb_per_s: Some(figure),
        p50_us: Some(figure),
        p99_us: Some(figure),
        cpu_s_per_million: Some(figure),
        ..Sample::new(row, peer, USAGE)
    }
}

/// Samples of one row: figures of the judged peer and of another, one pair a round.
fn rounds(row: Row, peers: [PeerKind; 2], pairs: &[(f64, f64)]) -> Vec<Sample> {
    let of_round = |(round, (ours, base)): (u32, &(f64, f64))| {
        let [judged, other] = peers;
        [sample(row, judged, round, *ours), sample(row, other, round, *base)]
    };
    (0..).zip(pairs).flat_map(of_round).collect()
}

fn figure(scheme: &'static Scheme, name: &str) -> &'static Figure {
    scheme.figures.iter().find(|figure| figure.name == name).unwrap()
}

/// The judged peer's line of a figure, when it is measured beside the baseline.
fn own_line(scheme: &'static Scheme, name: &str, pairs: &[(f64, f64)]) -> Line {
    let Figure { row, baseline, .. } = *figure(scheme, name);
    let samples = rounds(row, [scheme.judged, baseline], pairs);
    let lines = lines(scheme, &samples, &[], &[scheme.judged]);
    lines.into_iter().find(|line| line.figure == name).unwrap()
}

fn verdict(name: &str, pairs: &[(f64, f64)]) -> Verdict {
    own_line(&transport::SCHEME, name, pairs).verdict
}

#[test]
fn who_is_judged_and_whom_it_is_compared_with_carry_the_rows_in_question() {
    for scheme in [&transport::SCHEME, &runtime::SCHEME] {
        for figure in scheme.figures {
            let compared = figure.aims.iter().filter_map(|aim| match aim.against {
                Against::Itself => None,
                Against::Peer(peer) => Some(peer),
            });
            for peer in compared.chain([scheme.judged, figure.baseline]) {
                assert!(figure.row.includes(peer), "{} of {peer}", figure.name);
            }
        }
    }
}

#[test]
fn the_ratio_is_the_median_of_the_ratios_within_a_round() {
    // The ratio of the medians would be 200 / 200.
    let pairs = [(100.0, 200.0), (200.0, 100.0), (300.0, 400.0)];
    let line = own_line(&transport::SCHEME, "bulk", &pairs);
    assert_eq!(line.ratio, Some(Spread { median: 0.75, min: 0.5, max: 2.0 }));
    assert_eq!(line.value, Some(Spread { median: 200.0, min: 100.0, max: 300.0 }));
}

#[test]
fn a_latency_aim_is_missed_by_being_above_and_a_rate_aim_by_being_below() {
    assert_eq!(verdict("rt-1", &[(109.0, 100.0)]), Verdict::Met);
    assert!(matches!(verdict("rt-1", &[(150.0, 100.0)]), Verdict::MissedBy(x) if x > 0.39));
    assert_eq!(verdict("rt-64", &[(90.0, 100.0)]), Verdict::Met);
    assert!(matches!(verdict("rt-64", &[(50.0, 100.0)]), Verdict::MissedBy(x) if x > 0.39));
}

#[test]
fn the_mixed_row_is_judged_by_its_own_latency_even_when_bare_quinn_is_worse() {
    assert_eq!(verdict("mixed", &[(9_999.0, 1.0)]), Verdict::Met);
    assert_eq!(verdict("mixed", &[(10_000.0, 90_000.0)]), Verdict::MissedBy(0.0));
    assert_eq!(verdict("mixed", &[(12_000.0, 90_000.0)]), Verdict::MissedBy(2_000.0));
}

#[test]
fn one_way_is_compared_with_the_batched_stream() {
    assert_eq!(figure(&transport::SCHEME, "oneway").baseline, PeerKind::QuinnBatched);
    assert_eq!(verdict("oneway", &[(60.0, 100.0)]), Verdict::Met);
}

#[test]
fn processor_time_is_judged_by_itself_and_still_compared_with_bare_quinn() {
    let line = own_line(&runtime::SCHEME, "cpu-1024", &[(2.0, 4.0)]);
    assert_eq!(line.metric, Metric::CpuSPerMillion);
    assert_eq!(line.ratio.unwrap().median, 0.5);
    assert!(matches!(line.verdict, Verdict::MissedBy(x) if x > 0.39 && x < 0.41));
}

#[test]
fn an_aim_against_another_runtime_stands_on_that_ones_line() {
    let peers = [PeerKind::Runtime, PeerKind::Ractor];
    let samples = rounds(Row::RoundTrip1024, peers, &[(900.0, 100.0), (700.0, 100.0)]);
    let lines = lines(&runtime::SCHEME, &samples, &[], &peers);
    let line = lines.iter().find(|line| line.peer == PeerKind::Ractor).unwrap();
    assert_eq!(line.judged_ratio, Some(Spread { median: 8.0, min: 7.0, max: 9.0 }));
    assert_eq!((line.ratio, line.verdict), (None, Verdict::Met));
    assert!(table::render(&lines).contains("ours >= 8.00x  met at 8.00x"));
}

#[test]
fn a_peer_that_failed_has_a_line_and_its_reason() {
    let failure = Failure {
        row: Row::RoundTrip1024,
        peer: PeerKind::Kameo,
        round: 0,
        reason: "the connection was closed".to_owned(),
    };
    let lines = lines(&runtime::SCHEME, &[], &[failure], &[PeerKind::Runtime, PeerKind::Kameo]);
    assert_eq!(lines.len(), 2, "rt-1024 and the processor time of it");
    let text = table::render(&lines);
    assert!(text.contains("rt-1024   kameo  -      -         -    failed"), "{text}");
    assert!(text.ends_with("\ncpu-1024 of kameo: the connection was closed\n"), "{text}");
}

#[test]
fn without_a_baseline_there_is_no_ratio_and_no_verdict() {
    let samples = [sample(Row::RoundTrip1024, PeerKind::Vioduct, 0, 1.0)];
    let lines = lines(&transport::SCHEME, &samples, &[], &[PeerKind::Vioduct]);
    let line = lines.first().unwrap();
    assert_eq!((line.ratio, line.verdict), (None, Verdict::NotJudged));
}

#[test]
fn the_table_has_the_ratio_before_the_absolute_figures() {
    let peers = [PeerKind::Vioduct, PeerKind::Quinn];
    let samples = rounds(Row::Connect, peers, &[(1500.0, 1000.0)]);
    let text = table::render(&lines(&transport::SCHEME, &samples, &[], &peers));
    let mut rows = text.lines();
    assert!(rows.next().unwrap().starts_with("row      peer     ratio  min..max"));
    assert!(rows.next().unwrap().starts_with("connect  vioduct  1.50x  1.50..1.50  -    -"));
    assert!(rows.next().unwrap().starts_with("connect  quinn    1.00x"));
    assert_eq!(rows.next(), None);
}
