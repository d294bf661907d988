//! How long a client waits when something of its disk's way is lost: each scene so many times, on
//! processes of its own.
#![expect(clippy::print_stdout, reason = "the results of a benchmark go to standard output")]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use vioduct_tests::built;
use vioduct_tests::disks::scene::Scene;

/// Measures the longest request of a client over each kind of loss.
#[derive(Debug, Parser)]
#[command(name = "vioduct-stalls", about)]
struct Cli {
    /// How often each scene is played.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Only scenes whose names contain this.
    #[arg(long, default_value = "")]
    scene: String,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let (vioduct, loadtest) = (built::vioduct()?, built::loadtest()?);
    println!("{} rounds; the longest request of the client, milliseconds", cli.rounds);
    println!("{:<16}{:>8}{:>8}{:>8}{:>8}  sound", "scene", "min", "median", "max", "aim");
    let mut is_good = true;
    for scene in Scene::ALL {
        let name = format!("{scene:?}");
        if !name.to_lowercase().contains(&cli.scene.to_lowercase()) {
            continue;
        }
        let (mut longest, mut sound) = (Vec::new(), 0);
        for _round in 0..cli.rounds {
            let figures = scene.play(vioduct.clone(), &loadtest).await?;
            longest.push(figures.longest_ms);
            sound += u32::from(figures.is_sound());
        }
        longest.sort_by(f64::total_cmp);
        let at = |share: usize| longest.get((longest.len() - 1) * share / 100).copied();
        let [min, median, max] = [0, 50, 100].map(|share| at(share).unwrap_or(f64::NAN));
        let aim = scene.aim_ms();
        let shown = aim.map_or_else(|| "-".to_owned(), |aim| aim.to_string());
        let of = cli.rounds;
        println!("{name:<16}{min:>8.0}{median:>8.0}{max:>8.0}{shown:>8}  {sound}/{of}");
        is_good &= sound == of && aim.is_none_or(|aim| max <= f64::from(aim));
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
