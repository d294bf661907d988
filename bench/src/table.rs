//! Lines as text, ratios first.

use vioduct_bench_harness::rows::Metric;

use crate::report::{Line, Verdict};
use crate::scheme::Against;

const COLUMNS: usize = 12;

const HEADINGS: [&str; COLUMNS] = [
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
];

/// Renders the table, and below it why cells are empty.
pub(crate) fn render(lines: &[Line]) -> String {
    let mut cells = vec![HEADINGS.map(str::to_owned)];
    cells.extend(lines.iter().map(cells_of));
    let mut text = aligned(&cells);
    let failed = lines.iter().filter_map(|line| Some((line, line.failure.as_ref()?)));
    for (at, (line, reason)) in failed.enumerate() {
        if at == 0 {
            text.push('\n');
        }
        text.push_str(&format!("{} of {}: {reason}\n", line.figure, line.peer));
    }
    text
}

/// Rows of cells, each column as wide as its widest cell.
pub(crate) fn aligned<const COLUMNS: usize>(cells: &[[String; COLUMNS]]) -> String {
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| {
            let column_cells = cells.iter().filter_map(|row| row.get(column));
            column_cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in cells {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells_of(line: &Line) -> [String; COLUMNS] {
    [
        line.figure.to_owned(),
        line.peer.to_string(),
        cell(line.ratio, |ratio| format!("{:.2}x", ratio.median)),
        cell(line.ratio, |ratio| format!("{:.2}..{:.2}", ratio.min, ratio.max)),
        aim(line),
        verdict(line),
        cell(line.rate_per_s, rate),
        cell(line.mb_per_s, |mb| format!("{mb:.0}")),
        cell(line.p50_us, |us| format!("{us:.0}")),
        cell(line.p99_us, |us| format!("{us:.0}")),
        cell(line.cpu_s_per_million, |cpu| format!("{cpu:.2}")),
        if line.value.is_none() {
            "-".to_owned()
        } else {
            format!("{:.0} %", line.foreign_cpu_percent_max)
        },
    ]
}

/// On the line of another peer, the aim is the judged peer's against that one.
fn aim(line: &Line) -> String {
    let Some(aim) = line.aim else { return "-".to_owned() };
    let limit = with_unit(line, aim.against, aim.bound.limit());
    match aim.against {
        Against::Peer(peer) if peer == line.peer => format!("ours {} {limit}", aim.bound),
        Against::Peer(_) | Against::Itself => format!("{} {limit}", aim.bound),
    }
}

fn verdict(line: &Line) -> String {
    let Some(aim) = line.aim else {
        return if line.value.is_none() { "failed".to_owned() } else { "-".to_owned() };
    };
    let reached = line.judged_ratio.map_or_else(String::new, |r| format!(" at {:.2}x", r.median));
    match line.verdict {
        Verdict::NotJudged if line.value.is_none() => "failed".to_owned(),
        Verdict::NotJudged => "-".to_owned(),
        Verdict::Met => format!("met{reached}"),
        Verdict::MissedBy(excess) => {
            format!("missed by {}{reached}", with_unit(line, aim.against, excess))
        }
    }
}

/// A bound, or by how much it is missed. Rounded up, so that a miss never reads as 0.
fn with_unit(line: &Line, against: Against, amount: f64) -> String {
    let hundredths = (amount * 100.0 - 1e-6).ceil() / 100.0;
    match (against, line.metric) {
        (Against::Itself, Metric::P50Us | Metric::P99Us) => format!("{:.1} ms", amount / 1000.0),
        (Against::Itself, Metric::CpuSPerMillion) => format!("{hundredths:.2} s"),
        (Against::Itself, Metric::RatePerS | Metric::MbPerS) => rate(amount),
        (Against::Peer(_), _) => format!("{hundredths:.2}x"),
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
