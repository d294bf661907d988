//! The figures of several seeds.

use std::fmt;
use std::time::Duration;

use super::scene::{Run, Scene};
use super::traffic::Rate;

/// Of a hundred datagrams, so many are lost.
const LOSS_PERCENT: u8 = 1;
/// How often a link that somebody waits on is kept alive: the transport's default.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Links of a node on which somebody waits, for one line of the report.
const WAITED_LINKS: u32 = 8;

/// Figures of clusters of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Nodes of each cluster.
    pub nodes: u32,
    /// One run for each seed, in order.
    pub runs: Vec<Run>,
}

/// Simulates clusters of `nodes` (2..=65 536) from the seeds 1 to `seeds`, each quiet for
/// `minutes`, with one datagram in a hundred lost.
#[must_use]
pub fn report(nodes: u32, seeds: u64, minutes: u64) -> Report {
    let quiet = Duration::from_secs(minutes.saturating_mul(60));
    let scenes = (1..=seeds).map(|seed| Scene { nodes, seed, quiet, loss_percent: LOSS_PERCENT });
    Report { nodes, runs: scenes.map(Scene::run).collect() }
}

impl Report {
    /// Probe periods from a kill until everybody knew: the median over the seeds. `None` if in half
    /// of them or more not everybody learned of it.
    #[must_use]
    pub fn all_know_median(&self) -> Option<f64> {
        let mut periods: Vec<f64> =
            self.runs.iter().map(|run| run.all_know.unwrap_or(f64::INFINITY)).collect();
        periods.sort_by(f64::total_cmp);
        periods.get(periods.len() / 2).copied().filter(|periods| periods.is_finite())
    }

    /// Times that a living node was held for down, over all seeds.
    #[must_use]
    pub fn false_deaths(&self) -> u64 {
        self.runs.iter().map(|run| run.false_deaths).sum()
    }

    /// What a node sends in a second while all is quiet, links without keep-alives: the mean.
    #[must_use]
    pub fn rate(&self) -> Rate {
        let share = 1.0 / self.runs.len().max(1) as f64;
        self.runs.iter().map(Run::rate).fold(Rate::default(), |sum, rate| Rate {
            packets: sum.packets + share * rate.packets,
            bytes: sum.bytes + share * rate.bytes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            writeln!(f, "{run}")?;
        }
        let Self { nodes, runs } = self;
        let periods = OrNever(self.all_know_median());
        writeln!(f, "{nodes} nodes, {} seeds", runs.len())?;
        writeln!(f, "  from a kill, everybody knows after {periods} periods (median)")?;
        writeln!(f, "  {} false deaths", self.false_deaths())?;
        let rate = self.rate();
        writeln!(f, "  a node sends, while all is quiet, on links that are kept alive:")?;
        writeln!(f, "    none                 {rate}")?;
        let waited = rate.with_keep_alives(WAITED_LINKS, KEEP_ALIVE);
        writeln!(f, "    {WAITED_LINKS} that are waited on  {waited}")?;
        let all = rate.with_keep_alives(nodes.saturating_sub(1), KEEP_ALIVE);
        write!(f, "    all                  {all}")
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formed = OrNever(self.formed_after.map(|after| after.as_secs_f64()));
        write!(
            f,
            "seed {} {:016x} formed after {formed} s; {} s quiet: {} false deaths, {} suspicions, \
             {}, {} links first used; killed: first knows after {} periods, all after {}; \
             {} accusations",
            self.scene.seed,
            self.trace_hash,
            self.scene.quiet.as_secs(),
            self.false_deaths,
            self.suspicions,
            self.rate(),
            self.links_opened,
            OrNever(self.first_knows),
            OrNever(self.all_know),
            self.accusations,
        )
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} packets/s, {:.0} bytes/s", self.packets, self.bytes)
    }
}

/// A number, or that it never came to it.
struct OrNever(Option<f64>);

impl fmt::Display for OrNever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => write!(f, "{number:.1}"),
            None => f.write_str("(never)"),
        }
    }
}
