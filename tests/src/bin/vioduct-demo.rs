//! Vioduct on this machine, told line by line. Ends with code 1 when anything is not as it should
//! be.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use tokio::time::{Instant, timeout};
use vioduct_tests::demo::{DiskStory, Narrator, certificates};

/// Shows a cluster on this machine: a disk that outlives its paths and servers.
#[derive(Debug, Parser)]
#[command(name = "vioduct-demo", about)]
struct Cli {
    #[command(subcommand)]
    other: Option<Other>,
    /// Leave the cluster running at the end, and say how to use and stop it.
    #[arg(long, global = true)]
    keep: bool,
    /// A file to copy onto a disk and back, while paths and servers are lost. Default: 64 MiB made
    /// at random.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

/// Other stories.
#[derive(Debug, Subcommand)]
enum Other {
    /// Three nodes, while certificates are rotated and revoked.
    Certificates,
}

/// The whole story, without what an image of more than 64 MiB takes.
const DEMO_MAX: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    #[expect(clippy::disallowed_methods, reason = "a person waits for it")]
    let began = Instant::from_std(std::time::Instant::now());
    let narrator = Arc::new(Narrator::new(began));
    if let Err(error) = tell(&narrator, cli).await {
        narrator.verdict(false, &format!("{error:#}"));
    }
    let failures = narrator.failures();
    if failures.is_empty() {
        narrator.say("all as it should be");
        return ExitCode::SUCCESS;
    }
    narrator.say(&format!("{} not as it should be:", failures.len()));
    narrator.show(&failures.join("\n"));
    ExitCode::FAILURE
}

async fn tell(narrator: &Arc<Narrator>, cli: Cli) -> Result<()> {
    let vioduct = program("VIODUCT_BIN", "vioduct")?;
    let late = |_elapsed| anyhow::anyhow!("not done in time");
    if let Some(Other::Certificates) = cli.other {
        let told = certificates::tell(narrator, vioduct, cli.keep);
        return timeout(DEMO_MAX, told).await.map_err(late)?;
    }
    let loadtest = program("VIODUCT_LOADTEST_BIN", "vioduct-loadtest")?;
    let story = DiskStory::new(Arc::clone(narrator), vioduct, loadtest, cli.image)?;
    let bound = DEMO_MAX + story.image_max();
    timeout(bound, story.tell(cli.keep)).await.map_err(late)?
}

/// What the variable says, else the program beside this one.
fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(given) = env::var_os(variable) {
        return Ok(given.into());
    }
    let beside = env::current_exe()?.with_file_name(name);
    ensure!(
        beside.exists(),
        "{} is not built: `cargo build --workspace --bins`, or set {variable}",
        beside.display()
    );
    Ok(beside)
}
