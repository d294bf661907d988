//! What may happen to a disk while its clients write and read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::history::{History, Verdict};
use super::load::{Figures, Load};
use super::{DiskCluster, DiskPlan, STORAGE, pass};
use crate::fault::{Direction, Faults};

/// The LU; its client enters by v1.
const LU: u64 = 2;
const LU_BYTES: u64 = 64 << 20;
/// Each wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// One thing that happens, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// An operator takes the path out of use: the connection is gone at once.
    Reset,
    /// The fabric of the VIOS that serves falls silent.
    Silent,
    /// Requests are lost, answers arrive.
    OneWayThere,
    /// Requests arrive, answers are lost.
    OneWayBack,
    /// Silent and back, again and again.
    Flapping,
    /// Too slow to be of use.
    Slow,
    /// The VIOS that the client enters by is killed.
    EntryKilled,
    /// Requests are redirected, and the VIOS that they are redirected to is killed.
    ExitKilled,
    /// Both VIOSes of the client's CEC are killed, one after the other.
    BothKilled,
    /// The VIOS stands still, with its fabric good.
    Frozen,
    /// Both fabrics of the client's CEC are lost.
    CecLost,
    /// All fabrics are lost, and one comes back.
    AllLost,
    /// The storage is killed, and started again.
    StorageKilled,
    /// The fabric is good again, and requests go back.
    FailBack,
    /// The client enters by another CEC, since no VIOS of its own is left; then there is one again.
    Home,
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Reset,
        Self::Silent,
        Self::OneWayThere,
        Self::OneWayBack,
        Self::Flapping,
        Self::Slow,
        Self::EntryKilled,
        Self::ExitKilled,
        Self::BothKilled,
        Self::Frozen,
        Self::CecLost,
        Self::AllLost,
        Self::StorageKilled,
        Self::FailBack,
        Self::Home,
    ];

    /// Those that are played on a storage outside of the cluster, too.
    pub const OUTSIDE: [Self; 6] = [
        Self::Reset,
        Self::Silent,
        Self::OneWayBack,
        Self::EntryKilled,
        Self::Frozen,
        Self::FailBack,
    ];

    /// What the longest request may take, where there is an aim: milliseconds.
    pub const fn aim_ms(self) -> Option<u32> {
        match self {
            Self::Reset | Self::FailBack | Self::Home => Some(300),
            Self::Silent
            | Self::OneWayThere
            | Self::OneWayBack
            | Self::EntryKilled
            | Self::ExitKilled
            | Self::Frozen => Some(1500),
            Self::Flapping
            | Self::Slow
            | Self::BothKilled
            | Self::CecLost
            | Self::AllLost
            | Self::StorageKilled => None,
        }
    }

    /// Plays it on a cluster of its own, with these programs.
    ///
    /// # Errors
    /// What should have happened did not.
    pub async fn play(self, vioduct: PathBuf, loadtest: &Path) -> Result<Figures> {
        let args = ["--range", "8m", "--settle", "1s", "--depth", "8"];
        self.play_on(self.set(vioduct).await?, loadtest, &args).await
    }

    async fn play_on(
        self,
        mut disks: DiskCluster,
        loadtest: &Path,
        args: &[&str],
    ) -> Result<Figures> {
        let load = Load::flowing(loadtest, &[disks.uri(LU)], args).await?;
        self.act(&mut disks).await?;
        pass(Duration::from_secs(1)).await;
        let figures = load.stop().await?;
        if !figures.is_sound() {
            disks.keep_files();
        }
        Ok(figures)
    }

    /// The same on a storage outside of the cluster. One request at a time: so only one may be in
    /// doubt, and a later one of the same bytes, which is held back, is rare.
    ///
    /// # Errors
    /// What should have happened did not.
    pub async fn play_outside(self, vioduct: PathBuf, loadtest: &Path) -> Result<Figures> {
        let plan = DiskPlan { lu: LU, size: LU_BYTES };
        let disks = DiskCluster::create_outside(vioduct, plan).await?;
        let args = ["--range", "48m", "--settle", "1s", "--rate", "300", "--depth", "1"];
        self.play_on(self.begin(disks).await?, loadtest, &args).await
    }

    /// The same before another client, which checks the history of the disk.
    ///
    /// # Errors
    /// What should have happened did not.
    pub async fn record(self, vioduct: PathBuf) -> Result<Verdict> {
        let mut disks = self.set(vioduct).await?;
        let history = History::flowing(&disks.uri(LU)).await?;
        self.act(&mut disks).await?;
        pass(Duration::from_secs(1)).await;
        let verdict = history.stop().await?;
        if !verdict.is_sound() {
            disks.keep_files();
        }
        Ok(verdict)
    }

    /// All is there that it begins with.
    async fn set(self, vioduct: PathBuf) -> Result<DiskCluster> {
        let plan = DiskPlan { lu: LU, size: LU_BYTES };
        self.begin(DiskCluster::create(vioduct, &[plan]).await?).await
    }

    async fn begin(self, mut disks: DiskCluster) -> Result<DiskCluster> {
        disks.start(WAIT_MAX).await?;
        if self == Self::FailBack {
            disks.fabric("v1")?.cut_both();
            serves(&disks, "v2 serves for v1", |entry, exit| (entry, exit) == (1, 2)).await?;
        }
        if self == Self::Home {
            disks.cluster().kill("v1").await?;
            disks.cluster().kill("v2").await?;
            serves(&disks, "v3 serves", |entry, exit| (entry, exit) == (3, 3)).await?;
        }
        Ok(disks)
    }

    async fn act(self, disks: &mut DiskCluster) -> Result<()> {
        match self {
            Self::Reset => {
                let fail = ["path", "fail", "--vios", "v1", "--certs", "tool", "--cluster"];
                disks.run(&[&fail[..], &["cluster.toml"]].concat()).await?;
                redirected(disks).await
            }
            Self::Silent => {
                disks.fabric("v1")?.cut_both();
                redirected(disks).await
            }
            Self::OneWayThere => {
                disks.fabric("v1")?.cut(Direction::ToTarget);
                redirected(disks).await
            }
            Self::OneWayBack => {
                disks.fabric("v1")?.cut(Direction::ToClient);
                redirected(disks).await
            }
            Self::Flapping => flap(disks).await,
            Self::Slow => {
                let slow = Faults::none().with_delay(Duration::from_millis(400))?;
                disks.fabric("v1")?.set_both(slow)?;
                redirected(disks).await
            }
            Self::EntryKilled => {
                disks.cluster().kill("v1").await?;
                serves(disks, "v2 serves", |entry, _exit| entry == 2).await
            }
            Self::ExitKilled => {
                disks.fabric("v1")?.cut_both();
                redirected(disks).await?;
                disks.cluster().kill("v2").await?;
                serves(disks, "v3 serves", |_entry, exit| exit == 3).await
            }
            Self::BothKilled => {
                disks.cluster().kill("v1").await?;
                serves(disks, "v2 serves", |entry, exit| (entry, exit) == (2, 2)).await?;
                disks.cluster().kill("v2").await?;
                serves(disks, "v3 serves", |entry, exit| (entry, exit) == (3, 3)).await
            }
            Self::Frozen => {
                disks.cluster().signal("v1", "STOP").await?;
                serves(disks, "v2 serves", |entry, exit| (entry, exit) == (2, 2)).await?;
                disks.cluster().signal("v1", "CONT").await
            }
            Self::CecLost => {
                disks.fabric("v1")?.cut_both();
                disks.fabric("v2")?.cut_both();
                serves(disks, "v3 serves, one hop", |entry, exit| entry < 3 && exit == 3).await
            }
            Self::AllLost => all_lost(disks).await,
            Self::StorageKilled => {
                let lost = sessions(&disks.lus().await?);
                disks.cluster().kill(STORAGE).await?;
                disks.cluster().start(STORAGE).await?;
                let is_anew = |lus: &Value| (sessions(lus) > lost).then_some(());
                disks.until(WAIT_MAX, "another session", is_anew).await
            }
            Self::FailBack => {
                disks.fabric("v1")?.heal()?;
                serves(disks, "v1 serves again", |_entry, exit| exit == 1).await
            }
            Self::Home => {
                disks.cluster().start("v2").await?;
                serves(disks, "v2 serves again", |entry, exit| (entry, exit) == (2, 2)).await
            }
        }
    }
}

/// Sessions that were served.
fn sessions(lus: &Value) -> Option<u64> {
    lus.pointer("/disks/0/sessions").and_then(Value::as_u64)
}

/// Waits until requests go that way.
async fn serves(disks: &DiskCluster, what: &str, is_so: fn(u64, u64) -> bool) -> Result<()> {
    let at = |lus: &Value, key: &str| lus.pointer(&format!("/disks/0/{key}")).cloned();
    let number = |lus: &Value, key: &str| at(lus, key).and_then(|value| value.as_u64());
    let look = |lus: &Value| {
        let is_serving = at(lus, "state").is_some_and(|state| state == "serving");
        let (entry, exit) = (number(lus, "entry")?, number(lus, "exit")?);
        (is_serving && is_so(entry, exit)).then_some(())
    };
    disks.until(WAIT_MAX, what, look).await
}

async fn redirected(disks: &DiskCluster) -> Result<()> {
    serves(disks, "v2 serves for v1", |_entry, exit| exit == 2).await
}

async fn flap(disks: &DiskCluster) -> Result<()> {
    for silent_ms in [300, 1500, 100, 1200, 700, 1500, 200] {
        disks.fabric("v1")?.cut_both();
        pass(Duration::from_millis(silent_ms)).await;
        disks.fabric("v1")?.heal()?;
        pass(Duration::from_millis(400)).await;
    }
    Ok(())
}

async fn all_lost(disks: &DiskCluster) -> Result<()> {
    for vios in ["v1", "v2", "v3"] {
        disks.fabric(vios)?.cut_both();
    }
    let is_waiting = |lus: &Value| {
        let state = lus.pointer("/disks/0/state")?;
        (state == "waiting").then_some(())
    };
    disks.until(WAIT_MAX, "no path", is_waiting).await?;
    pass(Duration::from_secs(2)).await;
    let lus = disks.lus().await?;
    ensure!(is_waiting(&lus).is_some(), "a disk is served without any fabric: {lus:#}");
    disks.fabric("v2")?.heal()?;
    serves(disks, "v2 serves", |_entry, exit| exit == 2).await
}
