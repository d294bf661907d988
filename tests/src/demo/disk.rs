//! A client's disk over five processes, while paths and servers are lost.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{interval, timeout};

use super::Narrator;
use super::copy::{Image, copied, copy, sha256};
use crate::disks::load::{Figures, Load};
use crate::disks::{DiskCluster, DiskPlan, PHYP, STORAGE, VIOSES};

/// The LU that is driven, and the one that the image is copied onto: clients of both enter by v1.
const DRIVEN: u64 = 2;
const COPIED: u64 = 4;
const DRIVEN_BYTES: u64 = 64 << 20;
/// Each wait.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// The longest that a client's request may take over it all: detection takes 1 s by default.
const STALL_MAX_MS: f64 = 3000.0;
/// How fast an image is copied at the slowest, bytes a second.
const COPY_RATE_MIN: u64 = 8 << 20;
/// How long load flows between two faults.
const CALM: Duration = Duration::from_secs(2);

/// The story.
#[derive(Debug)]
pub struct DiskStory {
    narrator: Arc<Narrator>,
    vioduct: PathBuf,
    loadtest: PathBuf,
    image: Image,
}

impl DiskStory {
    /// With these programs, and a file of the user's.
    ///
    /// # Errors
    /// There is no such file.
    pub fn new(
        narrator: Arc<Narrator>,
        vioduct: PathBuf,
        loadtest: PathBuf,
        image: Option<PathBuf>,
    ) -> Result<Self> {
        Ok(Self { narrator, vioduct, loadtest, image: Image::new(image)? })
    }

    /// The longest that copying the image there and back may take.
    pub const fn image_max(&self) -> Duration {
        Duration::from_secs(2 * self.image.bytes() / COPY_RATE_MIN)
    }

    /// Tells it.
    ///
    /// # Errors
    /// Something did not happen at all.
    pub async fn tell(self, keep: bool) -> Result<()> {
        let disks = [
            DiskPlan { lu: DRIVEN, size: DRIVEN_BYTES },
            DiskPlan { lu: COPIED, size: self.image.lu_bytes() },
        ];
        let mut cluster = DiskCluster::create(self.vioduct.clone(), &disks).await?;
        self.say("certificates were made for a storage, three VIOSes, a hypervisor, a tool");
        let commands = cluster.start(WAIT_MAX).await?;
        for (name, cec) in VIOSES {
            self.say(&format!("{name}: a VIOS on CEC {cec}, a process on {}", cluster.addr(name)));
        }
        self.say(&format!("{PHYP}: the hypervisor of CEC 1; {STORAGE}: the storage"));
        self.say("the VIOSes hold the database; what there is was made in it by commands:");
        self.narrator.show(&format!("vioduct {}", commands.join("\nvioduct ")));
        self.show(&cluster, &["lu", "ls"]).await?;

        let file = self.image.file(cluster.dir())?;
        let (uri, copied_uri) = (uri(&cluster.socket(DRIVEN)), uri(&cluster.socket(COPIED)));
        let narrator = Arc::clone(&self.narrator);
        let load = Load::start(&self.loadtest, &[uri], &["--range", "16m"], move |line| {
            narrator.say(&format!("     load: {line}"));
        })?;
        self.calm().await;
        self.say("the load writes, reads and compares; nbdcopy copies the image onto LU 4");
        let there = copy(&file.display().to_string(), &copied_uri)?;
        self.lose_fabrics(&cluster).await?;
        self.within_copy(copied(there)).await.context("copying the image onto its disk")?;
        self.say("the image is on its disk; nbdcopy copies it back");
        let back = cluster.dir().join("image.back");
        let here = copy(&copied_uri, &back.display().to_string())?;
        self.lose_servers(&mut cluster).await?;
        self.within_copy(copied(here)).await.context("copying the image back")?;
        self.get_well(&mut cluster).await?;
        self.lose_leader(&mut cluster).await?;
        self.judge_load(&load.stop().await?);
        self.judge_image(&file, &back).await?;
        self.show(&cluster, &["lu", "ls"]).await?;
        self.show(&cluster, &["path", "ls"]).await?;
        if keep { self.leave(cluster).await } else { self.stop(cluster).await }
    }

    fn say(&self, line: &str) {
        self.narrator.say(line);
    }

    async fn show(&self, cluster: &DiskCluster, command: &[&str]) -> Result<()> {
        let target = ["--certs", "tool", "--cluster", "cluster.toml"];
        let output = cluster.output(&[command, &target].concat()).await?;
        self.narrator.show(&String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    async fn calm(&self) {
        let mut ticks = interval(CALM);
        ticks.tick().await;
        ticks.tick().await;
    }

    async fn within_copy(&self, copy: impl Future<Output = Result<()>>) -> Result<()> {
        timeout(WAIT_MAX + self.image_max(), copy).await.context("it takes too long")?
    }

    /// First the fabric of the VIOS that serves, then both of CEC 1.
    async fn lose_fabrics(&self, cluster: &DiskCluster) -> Result<()> {
        cluster.fabric("v1")?.cut_both();
        self.say("FAULT  the fabric of v1 is silent: v1 must send requests on by v2's CKE");
        self.serves(cluster, Some(1), 2).await?;
        self.calm().await;
        cluster.fabric("v2")?.cut_both();
        self.say(
            "FAULT  the fabric of v2 is silent too: CEC 1 has none, CEC 2 must serve, one hop",
        );
        self.serves(cluster, None, 3).await?;
        self.calm().await;
        Ok(())
    }

    async fn lose_servers(&self, cluster: &mut DiskCluster) -> Result<()> {
        let lus = cluster.lus().await?;
        let entry = disk(&lus)["entry"].as_u64().context("no entry is known")?;
        let name = VIOSES.iter().zip(1..).find(|(_, id)| *id == entry);
        let ((name, _cec), _id) = name.context("the entry is no VIOS")?;
        cluster.cluster().kill(name).await?;
        self.say(&format!(
            "FAULT  {name}, the VIOS that the client enters by, is killed (SIGKILL)"
        ));
        let other = if entry == 1 { 2 } else { 1 };
        self.serves(cluster, Some(other), 3).await?;
        self.calm().await;
        Ok(())
    }

    async fn get_well(&self, cluster: &mut DiskCluster) -> Result<()> {
        for (name, _cec) in VIOSES {
            cluster.fabric(name)?.heal()?;
        }
        self.say("HEAL   every fabric carries again; the client goes back once that has lasted");
        let began = self.narrator.elapsed();
        let is_near = |lus: &Value| {
            let exit = disk(lus)["exit"].as_u64().filter(|exit| *exit < 3);
            exit.filter(|_exit| disk(lus)["state"] == "serving")
        };
        let exit = cluster.until(WAIT_MAX, "an exit on CEC 1", is_near).await?;
        let took = self.narrator.elapsed().saturating_sub(began);
        self.narrator.verdict(true, &format!("v{exit} serves again, {took:.1?} after the healing"));
        for (name, _cec) in VIOSES {
            cluster.start_if_dead(name).await?;
        }
        self.calm().await;
        Ok(())
    }

    /// The database goes on without its leader, and so do the disks.
    async fn lose_leader(&self, cluster: &mut DiskCluster) -> Result<()> {
        let leader = cluster.database_leader(WAIT_MAX).await?;
        cluster.cluster().kill(&leader).await?;
        self.say(&format!("FAULT  {leader}, whose replica leads the database, is killed"));
        let began = self.narrator.elapsed();
        cluster.command(&["lu", "create", "--pool", "pool", "--size", "1MiB"]).await?;
        let took = self.narrator.elapsed().saturating_sub(began);
        self.narrator.verdict(true, &format!("another LU is made, {took:.1?} after the fault"));
        self.calm().await;
        cluster.start_if_dead(&leader).await?;
        self.calm().await;
        Ok(())
    }

    /// Waits until requests go that way.
    async fn serves(&self, cluster: &DiskCluster, entry: Option<u64>, exit: u64) -> Result<()> {
        let began = self.narrator.elapsed();
        let so = |lus: &Value| {
            let disk = disk(lus);
            let is_entry = entry.is_none_or(|entry| disk["entry"] == entry);
            let is_so = disk["state"] == "serving" && disk["exit"] == exit && is_entry;
            is_so.then(|| disk["longest_wait_us"].as_u64().unwrap_or(0) / 1000)
        };
        let what = format!("requests leave by v{exit}");
        let waited = cluster.until(WAIT_MAX, &what, so).await?;
        let took = self.narrator.elapsed().saturating_sub(began);
        let line = format!("{what}, {took:.1?} after the fault; longest wait so far {waited} ms");
        self.narrator.verdict(true, &line);
        Ok(())
    }

    fn judge_load(&self, figures: &Figures) {
        let is_good = figures.is_sound() && figures.longest_ms <= STALL_MAX_MS;
        let line = format!("{figures} (at most {STALL_MAX_MS})");
        self.narrator.verdict(is_good, &line);
    }

    async fn judge_image(&self, file: &Path, back: &Path) -> Result<()> {
        let bytes = self.image.bytes();
        let (before, after) = (sha256(file, bytes).await?, sha256(back, bytes).await?);
        self.narrator.show(&format!(
            "{before}  {} ({bytes} bytes)\n{after}  what came back from LU 4",
            file.display()
        ));
        self.narrator.verdict(before == after, "the image came back as it was");
        Ok(())
    }

    /// Ends every node in an orderly way, the client's side first.
    async fn stop(&self, mut cluster: DiskCluster) -> Result<()> {
        for name in [PHYP].into_iter().chain(VIOSES.map(|(name, _)| name)).chain([STORAGE]) {
            cluster.cluster().signal(name, "TERM").await?;
            let status = cluster.cluster().ended(name).await?;
            self.narrator.verdict(status.success(), &format!("{name} told to stop: {status}"));
        }
        Ok(())
    }

    /// Says how to go on. The proxies end with this program: each VIOS goes past its own first.
    async fn leave(&self, mut cluster: DiskCluster) -> Result<()> {
        self.say("each VIOS is started anew without the fault proxy; the disks stay in use");
        for (name, _cec) in VIOSES {
            cluster.go_past_proxy(name).await?;
        }
        let (driven, image) = (cluster.socket(DRIVEN), cluster.socket(COPIED));
        let (dir, program) = (cluster.dir().display().to_string(), self.vioduct.display());
        let (driven, image) = (driven.display(), image.display());
        let ids = cluster.keep();
        ensure!(!ids.is_empty(), "no process runs");
        let mut stop = "kill".to_owned();
        for id in ids {
            write!(stop, " {id}")?;
        }
        self.say("the cluster runs on:");
        self.narrator.show(&format!(
            "cd {dir}\n\
             {program} lu ls --certs tool --cluster cluster.toml\n\
             {program} path ls --certs tool --cluster cluster.toml\n\
             {program} path fail --vios v1 --certs tool --cluster cluster.toml\n\
             nbdcopy --progress 'nbd+unix:///?socket={image}' image.again\n\
             fio --name=load --ioengine=nbd --uri='nbd+unix:///?socket={driven}' \
             --rw=randrw --bs=4k --iodepth=16 --verify=crc32c --size=32m\n\
             qemu-system-x86_64 … -blockdev driver=nbd,node-name=d0,server.type=unix,\
             server.path={driven} -device virtio-blk-pci,drive=d0\n\
             {stop} && rm -r {dir}"
        ));
        Ok(())
    }
}

fn uri(socket: &Path) -> String {
    format!("nbd+unix:///?socket={}", socket.display())
}

/// The disk that is driven, in what `lu ls` answers.
fn disk(lus: &Value) -> &Value {
    static NONE: Value = Value::Null;
    let disks = lus["disks"].as_array();
    disks.and_then(|disks| disks.iter().find(|disk| disk["lu"] == DRIVEN)).unwrap_or(&NONE)
}
