//! How long a client waits when something of its disk's way is lost: each scene so many times, on
//! processes of its own. `crowd` has many clients.
#![expect(clippy::print_stdout, reason = "the results of a benchmark go to standard output")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use vioduct_tests::built;
use vioduct_tests::disks::crowd::{self, Round};
use vioduct_tests::disks::load::Figures;
use vioduct_tests::disks::scene::Scene;

/// By how much the 99th percentile of the helping VIOS's own clients may grow.
const RATIO_MAX: f64 = 2.0;

/// Measures the longest request of a client over each kind of loss.
#[derive(Debug, Parser)]
#[command(name = "vioduct-stalls", about)]
struct Cli {
    /// How often each scene is played.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only scenes whose names contain this; `crowd` is one.
    #[arg(long, default_value = "")]
    scene: String,
    /// Writes the results as JSON into this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The least, the median and the greatest of some rounds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Over {
    min: f64,
    median: f64,
    max: f64,
}

impl Over {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |share: usize| values.get(values.len().saturating_sub(1) * share / 100).copied();
        let [min, median, max] = [0, 50, 100].map(|share| at(share).unwrap_or(f64::NAN));
        Self { min, median, max }
    }
}

/// One scene.
#[derive(Debug, Serialize)]
struct Played {
    scene: String,
    longest_ms: Over,
    aim_ms: Option<u32>,
    sound: u32,
}

/// The scene with many clients.
#[derive(Debug, Serialize)]
struct Crowded {
    crowd: u64,
    own: u64,
    rates_per_s: (u32, u32),
    /// Of the own clients' 99th percentiles, by those before the loss.
    ratio_over_loss: Over,
    ratio_redirected: Over,
    rounds: Vec<Round>,
}

#[derive(Debug, Default, Serialize)]
struct Results {
    schema: u32,
    rounds: u32,
    scenes: Vec<Played>,
    crowd: Option<Crowded>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Cli { rounds, scene: wanted, json } = Cli::parse();
    let (vioduct, loadtest) = (built::vioduct()?, built::loadtest()?);
    let is_wanted = |name: &str| name.to_lowercase().contains(&wanted.to_lowercase());
    let mut results = Results { schema: 1, rounds, ..Results::default() };
    let mut is_good = true;
    println!("{rounds} rounds; the longest request of the client, milliseconds");
    println!("{:<20}{:>8}{:>8}{:>8}{:>8}  sound", "scene", "min", "median", "max", "aim");
    let within = Scene::ALL.into_iter().map(|scene| (format!("{scene:?}"), scene, false));
    let outside = Scene::OUTSIDE.map(|scene| (format!("Outside{scene:?}"), scene, true));
    for (name, scene, is_outside) in within.chain(outside).filter(|(name, ..)| is_wanted(name)) {
        let play = async || match is_outside {
            true => scene.play_outside(vioduct.clone(), &loadtest).await,
            false => scene.play(vioduct.clone(), &loadtest).await,
        };
        let played = play_often(name, scene, rounds, play).await?;
        let Played { scene, longest_ms: Over { min, median, max }, aim_ms, sound } = &played;
        let aim = aim_ms.map_or_else(|| "-".to_owned(), |aim| aim.to_string());
        println!("{scene:<20}{min:>8.0}{median:>8.0}{max:>8.0}{aim:>8}  {sound}/{rounds}");
        is_good &= *sound == rounds && aim_ms.is_none_or(|aim| *max <= f64::from(aim));
        results.scenes.push(played);
    }
    if is_wanted("crowd") {
        let crowded = play_crowd(rounds, &vioduct, &loadtest).await?;
        is_good &= show_crowd(&crowded);
        results.crowd = Some(crowded);
    }
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&results)?;
        fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play_often(
    name: String,
    scene: Scene,
    rounds: u32,
    play: impl AsyncFn() -> Result<Figures>,
) -> Result<Played> {
    let (mut longest, mut sound) = (Vec::new(), 0);
    for _round in 0..rounds {
        let figures = play().await?;
        longest.push(figures.longest_ms);
        sound += u32::from(figures.is_sound());
    }
    let longest_ms = Over::of(longest.into_iter());
    Ok(Played { scene: name, longest_ms, aim_ms: scene.aim_ms(), sound })
}

async fn play_crowd(count: u32, vioduct: &Path, loadtest: &Path) -> Result<Crowded> {
    let mut rounds = Vec::new();
    for _round in 0..count {
        rounds.push(crowd::play(vioduct.to_owned(), loadtest).await?);
    }
    Ok(Crowded {
        crowd: crowd::CROWD,
        own: crowd::OWN,
        rates_per_s: crowd::RATES,
        ratio_over_loss: Over::of(rounds.iter().map(Round::ratio_over_loss)),
        ratio_redirected: Over::of(rounds.iter().map(Round::ratio_redirected)),
        rounds,
    })
}

/// Whether all is as it should be.
fn show_crowd(crowded: &Crowded) -> bool {
    let Crowded { crowd, own, rates_per_s: (crowd_rate, own_rate), rounds, .. } = crowded;
    println!(
        "crowd: {crowd} clients of a VIOS whose fabric falls silent, {own} of the one that helps; \
         {crowd_rate} and {own_rate} requests a second"
    );
    println!("{:<44}{:>8}{:>8}{:>8}", "", "min", "median", "max");
    let line = |name: &str, value: fn(&Round) -> f64| {
        let Over { min, median, max } = Over::of(rounds.iter().map(value));
        println!("  {name:<42}{min:>8.2}{median:>8.2}{max:>8.2}");
    };
    line("p99 before, ms", |round| round.before.crowd.p99_us / 1e3);
    line("p99 over the loss, median client, ms", |round| {
        round.loss.crowd.client_p99_us.median / 1e3
    });
    line("p99 over the loss, worst client, ms", |round| round.loss.crowd.client_p99_us.max / 1e3);
    line("worst stall, best client, ms", |round| round.loss.crowd.client_stall_ms.min);
    line("worst stall, median client, ms", |round| round.loss.crowd.client_stall_ms.median);
    line("worst stall, worst client, ms", |round| round.loss.crowd.client_stall_ms.max);
    line("p99 redirected, ms", |round| round.redirected.crowd.p99_us / 1e3);
    line("helping VIOS's own: p99 before, ms", |round| round.before.own.p99_us / 1e3);
    line("  p99 over the loss, ms", |round| round.loss.own.p99_us / 1e3);
    line("  p99 redirected, ms", |round| round.redirected.own.p99_us / 1e3);
    line("  longest request over the loss, ms", |round| round.loss.own.longest_ms);
    line("  p99 over the loss ÷ before", Round::ratio_over_loss);
    line("  p99 redirected ÷ before", Round::ratio_redirected);
    let sound = rounds.iter().filter(|round| round.is_sound()).count();
    let on_time = rounds.iter().filter(|round| round.is_on_time()).count();
    let count = rounds.len();
    println!(
        "  sound {sound}/{count}, the load on time {on_time}/{count}; aim: ratios of 2 at most"
    );
    let is_near = |ratio: Over| ratio.median <= RATIO_MAX;
    sound == count && is_near(crowded.ratio_over_loss) && is_near(crowded.ratio_redirected)
}
