//! From samples to lines: medians, ratios within a round, verdicts.

use vioduct_bench_harness::peer::PeerKind;
use vioduct_bench_harness::rows::{Metric, Row};
use vioduct_bench_harness::sample::Sample;

use crate::scheme::{Against, Aim, Figure, Scheme};

/// A peer that did not give a sample.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Failure {
    /// Of which row.
    pub(crate) row: Row,
    /// Which peer.
    pub(crate) peer: PeerKind,
    /// In which round, from 0.
    pub(crate) round: u32,
    /// Why, for people.
    pub(crate) reason: String,
}

/// One line of the table: a figure and a peer.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) figure: &'static str,
    /// Of which peer.
    pub(crate) peer: PeerKind,
    /// The figure the ratios are taken of.
    pub(crate) metric: Metric,
    /// The figure against the baseline's of the same round; absent without a baseline.
    pub(crate) ratio: Option<Spread>,
    /// The judged peer's figure against this one's of the same round, where an aim is about that.
    pub(crate) judged_ratio: Option<Spread>,
    /// The figure itself.
    pub(crate) value: Option<Spread>,
    /// What the judged peer should reach.
    pub(crate) aim: Option<Aim>,
    /// Whether it did.
    pub(crate) verdict: Verdict,
    /// Medians over the rounds of what was measured.
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
    /// Why there is no figure, or not of each round.
    pub(crate) failure: Option<String>,
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

/// How the judged peer compares with an aim, by the median.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Nothing to judge.
    NotJudged,
    /// At the aim or better.
    Met,
    /// Worse than the aim by this much, in the unit of the aim.
    MissedBy(f64),
}

impl Spread {
    /// None of nothing.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        let median = f64::midpoint(lower, upper);
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

/// Makes the lines, in the order of the figures and peers given.
pub(crate) fn lines(
    scheme: &Scheme,
    samples: &[Sample],
    failures: &[Failure],
    peers: &[PeerKind],
) -> Vec<Line> {
    let rounds = Rounds { judged: scheme.judged, samples, failures };
    let pairs = scheme.figures.iter().flat_map(|figure| peers.iter().map(move |p| (figure, *p)));
    pairs.filter_map(|(figure, peer)| rounds.line(figure, peer)).collect()
}

struct Rounds<'a> {
    judged: PeerKind,
    samples: &'a [Sample],
    failures: &'a [Failure],
}

impl Rounds<'_> {
    /// None where nothing was tried.
    fn line(&self, figure: &Figure, peer: PeerKind) -> Option<Line> {
        let Figure { row, metric, .. } = *figure;
        let is_ours = |of_row, of_peer| of_row == row && of_peer == peer;
        let own: Vec<&Sample> = self.samples.iter().filter(|s| is_ours(s.row, s.peer)).collect();
        let failure = self.failures.iter().find(|failed| is_ours(failed.row, failed.peer));
        if own.is_empty() && failure.is_none() {
            return None;
        }
        let median = |metric: Metric| {
            Spread::of(own.iter().filter_map(|sample| sample.metric(metric)))
                .map(|spread| spread.median)
        };
        let ratio = self.ratio(figure, peer, figure.baseline);
        let value = Spread::of(own.iter().filter_map(|sample| sample.metric(metric)));
        let is_judged = peer == self.judged;
        let aim = if is_judged { figure.own_aim() } else { figure.aim_against(peer) };
        let judged_ratio = match aim {
            Some(_) if !is_judged => self.ratio(figure, self.judged, peer),
            Some(_) | None => None,
        };
        let reached = match aim.map(|aim| aim.against) {
            None => None,
            Some(Against::Itself) => value,
            Some(Against::Peer(_)) if is_judged => ratio,
            Some(Against::Peer(_)) => judged_ratio,
        };
        let foreign = own.iter().map(|sample| sample.foreign_cpu_percent);
        Some(Line {
            figure: figure.name,
            peer,
            metric,
            ratio,
            judged_ratio,
            value,
            aim,
            verdict: judge(aim, reached),
            rate_per_s: median(Metric::RatePerS),
            mb_per_s: median(Metric::MbPerS),
            p50_us: median(Metric::P50Us),
            p99_us: median(Metric::P99Us),
            cpu_s_per_million: median(Metric::CpuSPerMillion),
            foreign_cpu_percent_max: foreign.fold(0.0, f64::max),
            failure: failure.map(|failed| failed.reason.clone()),
        })
    }

    /// One peer's figure against another's, of the rounds that have both.
    fn ratio(&self, figure: &Figure, peer: PeerKind, base: PeerKind) -> Option<Spread> {
        let of =
            |wanted| self.samples.iter().filter(move |s| s.row == figure.row && s.peer == wanted);
        Spread::of(of(peer).filter_map(|sample| {
            let base = of(base).find(|base| base.round == sample.round)?.metric(figure.metric)?;
            Some(sample.metric(figure.metric)? / base)
        }))
    }
}

fn judge(aim: Option<Aim>, reached: Option<Spread>) -> Verdict {
    match aim.zip(reached) {
        None => Verdict::NotJudged,
        Some((aim, reached)) => {
            aim.bound.excess(reached.median).map_or(Verdict::Met, Verdict::MissedBy)
        }
    }
}

#[cfg(test)]
mod tests;
