//! From samples to the table: medians, ratios within a round, verdicts.

use crate::peers::PeerKind;
use crate::rows::{Aim, Metric, Row};
use crate::sample::Sample;

/// One line of the table: a row and a peer.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) row: Row,
    /// Of which peer.
    pub(crate) peer: PeerKind,
    /// The figure the ratio is taken of.
    pub(crate) metric: Metric,
    /// The figure against the baseline's of the same round; absent without a baseline.
    pub(crate) ratio: Option<Spread>,
    /// The figure itself.
    pub(crate) value: Option<Spread>,
    /// What our transport should reach.
    pub(crate) aim: Aim,
    /// Whether it did.
    pub(crate) verdict: Verdict,
    /// Medians over the rounds of what else was measured.
    pub(crate) rate_per_s: Option<f64>,
    /// As in [`Sample`].
    pub(crate) mb_per_s: Option<f64>,
    /// As in [`Sample`].
    pub(crate) p50_us: Option<f64>,
    /// As in [`Sample`].
    pub(crate) p99_us: Option<f64>,
    /// As in [`Sample`].
    pub(crate) cpu_s_per_million: Option<f64>,
    /// The worst round's.
    pub(crate) foreign_cpu_percent_max: f64,
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

/// How a line compares with its aim. Only our transport is judged, by the median.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing to judge.
    NotJudged,
    /// At the aim or better.
    Met,
    /// Worse than the aim by this much: a ratio, or microseconds for an aim in them.
    MissedBy(f64),
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        let median = f64::midpoint(lower, upper);
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// Makes the lines, in the order of the rows and peers given.
pub(crate) fn lines(samples: &[Sample], peers: &[PeerKind]) -> Vec<Line> {
    let pairs = Row::ALL.iter().flat_map(|row| peers.iter().map(|peer| (*row, *peer)));
    pairs.filter_map(|(row, peer)| line(samples, row, peer)).collect()
}

fn line(samples: &[Sample], row: Row, peer: PeerKind) -> Option<Line> {
    let own: Vec<&Sample> = samples.iter().filter(|s| s.row == row && s.peer == peer).collect();
    let first = own.first()?;
    let metric = row.metric();
    let median = |figure: fn(&Sample) -> Option<f64>| {
        Spread::of(own.iter().filter_map(|sample| figure(sample))).map(|spread| spread.median)
    };
    let ratio = Spread::of(own.iter().filter_map(|sample| {
        let same_round = |base: &&Sample| {
            base.row == row && base.peer == row.baseline() && base.round == sample.round
        };
        let base = samples.iter().find(same_round)?.metric(metric)?;
        Some(sample.metric(metric)? / base)
    }));
    let value = Spread::of(own.iter().filter_map(|sample| sample.metric(metric)));
    let aim = row.aim();
    Some(Line {
        row,
        peer,
        metric,
        ratio,
        value,
        aim,
        verdict: if peer == PeerKind::Vioduct {
            judge(aim, ratio, value)
        } else {
            Verdict::NotJudged
        },
        rate_per_s: median(|sample| sample.rate_per_s),
        mb_per_s: median(|sample| sample.mb_per_s),
        p50_us: median(|sample| sample.p50_us),
        p99_us: median(|sample| sample.p99_us),
        cpu_s_per_million: median(|sample| sample.cpu_s_per_million),
        foreign_cpu_percent_max: own
            .iter()
            .map(|sample| sample.foreign_cpu_percent)
            .fold(first.foreign_cpu_percent, f64::max),
    })
}

fn judge(aim: Aim, ratio: Option<Spread>, value: Option<Spread>) -> Verdict {
    let excess = match aim {
        Aim::None => None,
        Aim::RatioAtMost(bound) => ratio.map(|ratio| ratio.median - bound),
        Aim::RatioAtLeast(bound) => ratio.map(|ratio| bound - ratio.median),
        // Strictly below: at the bound it is missed, if by nothing.
        Aim::BelowUs(bound) => {
            return value.map_or(Verdict::NotJudged, |value| {
                if value.median < bound {
                    Verdict::Met
                } else {
                    Verdict::MissedBy(value.median - bound)
                }
            });
        }
    };
    match excess {
        None => Verdict::NotJudged,
        Some(excess) if excess <= 0.0 => Verdict::Met,
        Some(excess) => Verdict::MissedBy(excess),
    }
}

/// Renders the table, ratios first.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut cells = vec![
        [
            "row",
            "peer",
            "ratio",
            "min..max",
            "aim",
            "verdict",
            "ops/s",
            "MB/s",
            "p50 us",
            "p99 us",
            "CPU s/1M",
            "foreign CPU",
        ]
        .map(str::to_owned),
    ];
    cells.extend(lines.iter().map(cells_of));
    let widths: Vec<usize> = (0..12)
        .map(|column| {
            let column_cells = cells.iter().filter_map(|row| row.get(column));
            column_cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &cells {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells_of(line: &Line) -> [String; 12] {
    [
        line.row.to_string(),
        line.peer.to_string(),
        cell(line.ratio, |ratio| format!("{:.2}x", ratio.median)),
        cell(line.ratio, |ratio| format!("{:.2}..{:.2}", ratio.min, ratio.max)),
        line.aim.to_string(),
        verdict(line),
        cell(line.rate_per_s, rate),
        cell(line.mb_per_s, |mb| format!("{mb:.0}")),
        cell(line.p50_us, |us| format!("{us:.0}")),
        cell(line.p99_us, |us| format!("{us:.0}")),
        cell(line.cpu_s_per_million, |cpu| format!("{cpu:.2}")),
        format!("{:.0} %", line.foreign_cpu_percent_max),
    ]
}

fn verdict(line: &Line) -> String {
    match (line.verdict, line.aim) {
        (Verdict::NotJudged, _) => "-".to_owned(),
        (Verdict::Met, _) => "met".to_owned(),
        (Verdict::MissedBy(us), Aim::BelowUs(_)) => format!("missed by {:.1} ms", us / 1000.0),
        (Verdict::MissedBy(ratio), Aim::None | Aim::RatioAtLeast(_) | Aim::RatioAtMost(_)) => {
            // Rounded up, so that a miss never reads as 0.
            format!("missed by {:.2}x", (ratio * 100.0).ceil() / 100.0)
        }
    }
}

fn rate(per_s: f64) -> String {
    if per_s < 1e4 {
        format!("{per_s:.0}")
    } else if per_s < 1e6 {
        format!("{:.1}k", per_s / 1e3)
    } else {
        format!("{:.2}M", per_s / 1e6)
    }
}

fn cell<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

#[cfg(test)]
mod tests;
