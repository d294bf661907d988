//! Fifty clients of a VIOS whose fabric falls silent, and clients of the VIOS that helps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::load::{Figures, Load};
use super::{DiskCluster, DiskPlan, pass};

/// Clients that enter by v1, each with a disk of its own.
pub const CROWD: u64 = 50;
/// Those that enter by v2.
pub const OWN: u64 = 4;
/// Requests a second of all in the crowd, and of all of v2's own. They come whatever the answers
/// do, and are few enough that no processor has much to do: what is longer then is longer in the
/// VIOS.
pub const RATES: (u32, u32) = (1000, 400);

const LU_BYTES: u64 = 1 << 20;
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the load flows, beyond its first second, before the loss and once all are redirected.
const CALM: Duration = Duration::from_secs(2);
/// How long from the loss on.
const LOSS: Duration = Duration::from_secs(4);

/// What clients had over one span of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Span {
    /// Those of the VIOS that fails.
    pub crowd: Figures,
    /// Those of the VIOS that helps.
    pub own: Figures,
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// Each client by its own VIOS.
    pub before: Span,
    /// From a second before the loss until four after it.
    pub loss: Span,
    /// All by one VIOS.
    pub redirected: Span,
}

impl Round {
    /// By how much the 99th percentile of the helping VIOS's own clients grows over the loss.
    pub fn ratio_over_loss(&self) -> f64 {
        self.loss.own.p99_us / self.before.own.p99_us
    }

    /// The same, once all are redirected.
    pub fn ratio_redirected(&self) -> f64 {
        self.redirected.own.p99_us / self.before.own.p99_us
    }

    /// Whether no client noticed anything but a wait.
    pub const fn is_sound(&self) -> bool {
        let Self { before, loss, redirected } = self;
        before.is_sound() && loss.is_sound() && redirected.is_sound()
    }

    /// Whether the load kept to its rate wherever nothing was lost.
    pub const fn is_on_time(&self) -> bool {
        let Self { before, loss, redirected } = self;
        before.crowd.is_on_time
            && before.own.is_on_time
            && loss.own.is_on_time
            && redirected.crowd.is_on_time
            && redirected.own.is_on_time
    }
}

impl Span {
    const fn is_sound(&self) -> bool {
        self.crowd.is_sound() && self.own.is_sound()
    }
}

/// Plays it on a cluster of its own, with these programs.
///
/// # Errors
/// What should have happened did not.
pub async fn play(vioduct: PathBuf, loadtest: &Path) -> Result<Round> {
    let plans: Vec<_> = lus().map(|lu| DiskPlan { lu, size: LU_BYTES }).collect();
    let mut disks = DiskCluster::create(vioduct, &plans).await?;
    disks.start(WAIT_MAX).await?;
    leave_by(&disks, "each LU by its own VIOS", |lu| if lu % 2 == 0 { 1 } else { 2 }).await?;
    let before = span(&disks, loadtest, CALM, || {}).await?;
    let fabric = disks.fabric("v1")?;
    let loss = span(&disks, loadtest, LOSS, || fabric.cut_both()).await?;
    leave_by(&disks, "every LU by v2", |_lu| 2).await?;
    let redirected = span(&disks, loadtest, CALM, || {}).await?;
    let round = Round { before, loss, redirected };
    if !round.is_sound() {
        disks.keep_files();
    }
    Ok(round)
}

/// The crowd's are even.
fn lus() -> impl Iterator<Item = u64> {
    let crowd = (1..=CROWD).map(|number| 2 * number);
    let own = (1..=OWN).map(|number| 2 * number - 1);
    crowd.chain(own)
}

/// Nothing else runs meanwhile: to ask how the disks are takes more of a processor than the load.
async fn span(
    disks: &DiskCluster,
    loadtest: &Path,
    length: Duration,
    act: impl FnOnce(),
) -> Result<Span> {
    // The crowd fills its disks before the others are measured.
    let crowd = flowing(disks, loadtest, 0, RATES.0).await?;
    let own = flowing(disks, loadtest, 1, RATES.1).await?;
    act();
    pass(length).await;
    let own = own.stop().await?;
    Ok(Span { crowd: crowd.stop().await?, own })
}

/// A load on all LUs that are even or odd, a second after its first request.
async fn flowing(disks: &DiskCluster, loadtest: &Path, remainder: u64, rate: u32) -> Result<Load> {
    let of = lus().filter(|lu| lu % 2 == remainder);
    let uris: Vec<_> = of.map(|lu| disks.uri(lu)).collect();
    let rate = rate.to_string();
    let args = ["--range", "1m", "--settle", "0s", "--rate", &rate];
    Load::flowing(loadtest, &uris, &args).await
}

/// Waits until the requests for each LU leave by the VIOS that `exit` names.
async fn leave_by(disks: &DiskCluster, what: &str, exit: fn(u64) -> u64) -> Result<()> {
    let is_so = |disk: &Value| {
        let is_exit = disk["lu"].as_u64().is_some_and(|lu| disk["exit"] == exit(lu));
        is_exit && disk["state"] == "serving"
    };
    let look = |lus: &Value| lus["disks"].as_array()?.iter().all(is_so).then_some(());
    disks.until(WAIT_MAX, what, look).await
}
