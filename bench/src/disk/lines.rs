//! From samples to a table: medians, ratios within a round, verdicts.

use super::fio::Sample;
use super::rows::{Contender, Row};
use crate::report::Spread;
use crate::scheme::Bound;
use crate::table;

/// One line of the table.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) server: Contender,
    /// To the baseline's of the same round; more is better.
    pub(crate) ratio: Option<Spread>,
    pub(crate) aim: Option<Bound>,
    pub(crate) is_met: Option<bool>,
    pub(crate) iops: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us: f64,
}

/// By row, and within it in the order of the servers.
pub(crate) fn lines(samples: &[Sample]) -> Vec<Line> {
    let pairs = Row::ALL.into_iter().flat_map(|row| Contender::ALL.map(|server| (row, server)));
    pairs.filter_map(|(row, server)| line(samples, row, server)).collect()
}

fn line(samples: &[Sample], row: Row, server: Contender) -> Option<Line> {
    let of = |wanted| samples.iter().filter(move |one| one.row == row && one.server == wanted);
    let median = |figure: fn(&Sample) -> f64| Spread::of(of(server).map(figure));
    let iops = median(|sample| sample.iops)?.median;
    let figure = |figure| median(figure).map_or(0.0, |spread| spread.median);
    let ratio = Spread::of(of(server).filter_map(|sample| {
        let base = of(server.baseline()).find(|base| base.round == sample.round)?;
        Some(sample.figure() / base.figure())
    }));
    let aim = server.aim(row);
    let is_met = aim.zip(ratio).map(|(aim, ratio)| aim.excess(ratio.median).is_none());
    Some(Line {
        row,
        server,
        ratio,
        aim,
        is_met,
        iops,
        mb_per_s: figure(|sample| sample.mb_per_s),
        p50_us: figure(|sample| sample.p50_us),
        p99_us: figure(|sample| sample.p99_us),
        cpu_us: figure(|sample| sample.cpu_us),
    })
}

const HEADINGS: [&str; 11] = [
    "row", "server", "ratio", "min..max", "aim", "verdict", "IOPS", "MB/s", "p50 us", "p99 us",
    "CPU us",
];

/// The table, ratios first.
pub(crate) fn render(lines: &[Line]) -> String {
    let mut cells = vec![HEADINGS.map(str::to_owned)];
    cells.extend(lines.iter().map(|line| {
        let ratio = line.ratio;
        let verdict = line.is_met.map(|is_met| if is_met { "met" } else { "MISSED" });
        [
            line.row.to_string(),
            line.server.to_string(),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}x", ratio.median)),
            ratio.map_or_else(
                || "-".to_owned(),
                |ratio| format!("{:.2}..{:.2}", ratio.min, ratio.max),
            ),
            line.aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim} {:.2}x", aim.limit())),
            verdict.unwrap_or("-").to_owned(),
            format!("{:.0}", line.iops),
            format!("{:.0}", line.mb_per_s),
            format!("{:.0}", line.p50_us),
            format!("{:.0}", line.p99_us),
            format!("{:.1}", line.cpu_us),
        ]
    }));
    table::aligned(&cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(row: Row, server: Contender, round: u32, figure: f64) -> Sample {
        Sample {
            row,
            server,
            round,
            iops: figure,
            mb_per_s: figure,
            p50_us: 1e6 / figure,
            p99_us: 1.0,
            cpu_us: 1.0,
            foreign_cpu_percent: 0.0,
        }
    }

    fn ratio(row: Row, server: Contender, pairs: &[(f64, f64)]) -> Line {
        let mut samples = Vec::new();
        for (round, (ours, base)) in (0..).zip(pairs) {
            samples.push(sample(row, server, round, *ours));
            samples.push(sample(row, server.baseline(), round, *base));
        }
        lines(&samples).into_iter().find(|line| line.server == server).unwrap()
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_within_a_round() {
        let pairs = [(100.0, 200.0), (200.0, 100.0), (300.0, 400.0)];
        for row in Row::ALL {
            let line = ratio(row, Contender::File, &pairs);
            assert_eq!(line.ratio.map(|ratio| (ratio.median * 100.0).round()), Some(75.0));
            assert_eq!(line.is_met, Some(false));
        }
    }

    #[test]
    fn a_redirected_request_may_take_twice_as_long_and_no_longer() {
        let server = Contender::ProcessesRedirected;
        let met = |ours| ratio(Row::RandomRead1, server, &[(ours, 100.0)]).is_met;
        assert_eq!((met(50.0), met(49.0)), (Some(true), Some(false)));
        assert_eq!(ratio(Row::RandomRead32, server, &[(1.0, 100.0)]).is_met, None);
    }

    #[test]
    fn the_one_that_others_are_compared_with_has_a_ratio_of_one_and_no_aim() {
        let samples = [sample(Row::SequentialRead, Contender::QemuChain, 0, 7.0)];
        let text = render(&lines(&samples));
        assert!(text.contains("sr   qemu-chain  1.00x  1.00..1.00  -    -"), "{text}");
    }
}
