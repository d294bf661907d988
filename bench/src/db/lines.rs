//! From samples to a table: medians, ratios within a round, verdicts.

use vioduct_bench_harness::store::{Latency, StoreKind, StoreLoad, StoreRow, StoreSample};

use crate::report::Spread;
use crate::scheme::Bound;
use crate::table;

/// One line of the table.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Line {
    pub(super) row: StoreRow,
    /// What the ratio is of.
    pub(super) figure: Figure,
    pub(super) vioduct: Option<Medians>,
    pub(super) etcd: Option<Medians>,
    /// Our figure to etcd's of the same round.
    pub(super) ratio: Option<Spread>,
    pub(super) aim: Option<Bound>,
    /// By the median.
    pub(super) is_met: Option<bool>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// Operations a second; more is better.
    RatePerS,
    /// Median latency; less is better.
    P50Us,
}

/// Of one store, over the rounds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Medians {
    pub(super) rate_per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// To each that watches.
    pub(super) notice_p50_us: Option<f64>,
    pub(super) notice_p99_us: Option<f64>,
    /// Processor time for one operation, in microseconds.
    pub(super) servers_cpu_us: f64,
    pub(super) client_cpu_us: f64,
}

/// What our figure should be to etcd's.
const fn aim(row: StoreRow) -> Option<Bound> {
    match row {
        StoreRow::Put1 | StoreRow::Get1 => Some(Bound::AtLeast(2.0)),
        StoreRow::Put256 | StoreRow::Get256 => Some(Bound::AtLeast(3.0)),
        StoreRow::Put32 | StoreRow::Get32 => None,
        StoreRow::Watch1 | StoreRow::Watch10 | StoreRow::Watch100 => Some(Bound::AtMost(0.5)),
    }
}

impl Figure {
    const fn of(row: StoreRow) -> Self {
        match row.load() {
            StoreLoad::Puts { .. } | StoreLoad::Gets { .. } => Self::RatePerS,
            StoreLoad::Watched { .. } => Self::P50Us,
        }
    }

    fn take(self, sample: &StoreSample) -> f64 {
        match self {
            Self::RatePerS => sample.rate_per_s,
            Self::P50Us => sample.latency.p50_us,
        }
    }
}

/// In the order of the rows.
pub(super) fn lines(samples: &[StoreSample]) -> Vec<Line> {
    StoreRow::ALL.into_iter().filter_map(|row| line(samples, row)).collect()
}

fn line(samples: &[StoreSample], row: StoreRow) -> Option<Line> {
    let of = |kind| samples.iter().filter(move |one| one.row == row && one.store == kind);
    let (ours, etcd) = (|| of(StoreKind::Vioduct), || of(StoreKind::Etcd));
    let (vioduct_medians, etcd_medians) = (medians(ours()), medians(etcd()));
    vioduct_medians.or(etcd_medians)?;
    let figure = Figure::of(row);
    let ratio = Spread::of(ours().filter_map(|sample| {
        let base = etcd().find(|base| base.round == sample.round)?;
        Some(figure.take(sample) / figure.take(base))
    }));
    let aim = aim(row);
    let is_met = aim.zip(ratio).map(|(aim, ratio)| aim.excess(ratio.median).is_none());
    Some(Line { row, figure, vioduct: vioduct_medians, etcd: etcd_medians, ratio, aim, is_met })
}

fn medians<'a>(samples: impl Iterator<Item = &'a StoreSample> + Clone) -> Option<Medians> {
    let median = |figure: fn(&StoreSample) -> f64| {
        Spread::of(samples.clone().map(figure)).map(|spread| spread.median)
    };
    let notice = |figure: fn(Latency) -> f64| {
        let figures = samples.clone().filter_map(|sample| sample.notice).map(figure);
        Spread::of(figures).map(|spread| spread.median)
    };
    Some(Medians {
        notice_p50_us: notice(|latency| latency.p50_us),
        notice_p99_us: notice(|latency| latency.p99_us),
        rate_per_s: median(|sample| sample.rate_per_s)?,
        p50_us: median(|sample| sample.latency.p50_us)?,
        p99_us: median(|sample| sample.latency.p99_us)?,
        servers_cpu_us: median(StoreSample::servers_cpu_us)?,
        client_cpu_us: median(StoreSample::client_cpu_us)?,
    })
}

const HEADINGS: [&str; 12] = [
    "row",
    "ops/s",
    "ratio",
    "min..max",
    "aim",
    "verdict",
    "p50 us",
    "p99 us",
    "each p50 us",
    "each p99 us",
    "servers CPU us",
    "client CPU us",
];

/// The table: vioduct's figure before etcd's.
pub(super) fn render(lines: &[Line]) -> String {
    let mut cells = vec![HEADINGS.map(str::to_owned)];
    cells.extend(lines.iter().map(|line| {
        let pair = |figure: fn(Medians) -> Option<f64>| {
            let [ours, etcd] = [line.vioduct, line.etcd].map(|medians| medians.and_then(figure));
            if ours.or(etcd).is_none() {
                return dash();
            }
            format!("{} / {}", cell(ours), cell(etcd))
        };
        let verdict = line.is_met.map(|is_met| if is_met { "met" } else { "MISSED" });
        [
            line.row.to_string(),
            pair(|medians| Some(medians.rate_per_s)),
            line.ratio.map_or_else(dash, |ratio| format!("{:.2}x", ratio.median)),
            line.ratio.map_or_else(dash, |ratio| format!("{:.2}..{:.2}", ratio.min, ratio.max)),
            line.aim.map_or_else(dash, |aim| format!("{aim} {:.2}x", aim.limit())),
            verdict.unwrap_or("-").to_owned(),
            pair(|medians| Some(medians.p50_us)),
            pair(|medians| Some(medians.p99_us)),
            pair(|medians| medians.notice_p50_us),
            pair(|medians| medians.notice_p99_us),
            pair(|medians| Some(medians.servers_cpu_us)),
            pair(|medians| Some(medians.client_cpu_us)),
        ]
    }));
    table::aligned(&cells)
}

fn dash() -> String {
    "-".to_owned()
}

fn cell(figure: Option<f64>) -> String {
    figure.map_or_else(dash, |figure| format!("{figure:.0}"))
}

#[cfg(test)]
mod tests;
