//! The story that the program tells, and the measurement.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::node::{Device, Layout, Threads};
use crate::storage::DISK_BYTES;
use crate::trace::{MARKS, p50_p99};

/// The whole story.
const STORY_MAX: Duration = Duration::from_secs(40);
/// Size of the blocks that are written.
const BLOCK_BYTES: usize = 64 << 10;
/// Blocks written while the path is cut.
const CUT_BLOCKS: [usize; 4] = [3, 17, 18, 40];
/// Reads before the measured ones.
const WARM_UP: u32 = 500;

/// The disk as it was acknowledged.
struct Model(Vec<u8>);

impl Model {
    /// Fills blocks with the bytes of a generation, and gives the writes that do it on the disk.
    fn rewrite(&mut self, blocks: &[usize], generation: u8) -> Vec<(u64, Vec<u8>)> {
        let rewrite = |block: &usize| {
            let at = block * BLOCK_BYTES;
            // Each byte says where and when it was written.
            let body = (at..at + BLOCK_BYTES).map(|byte| {
                let [low, middle, high, ..] = byte.to_le_bytes();
                low.wrapping_mul(31) ^ middle ^ high.rotate_left(4) ^ generation.wrapping_mul(57)
            });
            let body: Vec<u8> = body.collect();
            if let Some(place) = self.0.get_mut(at..at + BLOCK_BYTES) {
                place.copy_from_slice(&body);
            }
            (at as u64, body)
        };
        blocks.iter().map(rewrite).collect()
    }
}

fn block_on<T>(story: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()?.block_on(story)
}

/// Plays the story to its end.
pub(crate) fn tell(layout: Layout) -> Result<()> {
    block_on(async { timeout(STORY_MAX, play(layout)).await.context("the story takes too long")? })
}

async fn play(layout: Layout) -> Result<()> {
    let mut cluster = Cluster::start(layout).await?;
    println!("n1 (phyp), n2 (vios) and n3 (vios, storage) run; a proxy stands between n2 and n3");
    println!("n1: opened {}", cluster.n1.says("opened ").await?);
    let mut client = Client::connect(&cluster.socket()).await?;
    let mut model = Model(vec![0; usize::try_from(DISK_BYTES)?]);
    ensure!(client.size == DISK_BYTES, "the disk has {} bytes", client.size);
    let all: Vec<usize> = (0..model.0.len() / BLOCK_BYTES).collect();
    for blocks in all.chunks(8) {
        client.write_all(&model.rewrite(blocks, 1)).await?;
    }
    client.flush().await?;
    println!("{} blocks written and flushed through n2", all.len());

    cluster.fabric.cut_both();
    let cut = now();
    client.write_all(&model.rewrite(&CUT_BLOCKS, 2)).await?;
    println!("path of n2 cut; {} writes answered after {:?}", CUT_BLOCKS.len(), cut.elapsed());
    println!("n1: opened {}", cluster.n1.says("opened ").await?);
    // Not the first: on that block the disk has to hold what was sent again.
    client.write_all(&model.rewrite(&CUT_BLOCKS[1..], 3)).await?;
    client.flush().await?;
    println!("all but the first of these blocks written anew, and flushed, through n3");

    cluster.fabric.heal();
    for _write in CUT_BLOCKS {
        println!("path healed; n3: refused {}", cluster.n3.says("refused write ").await?);
    }
    let mut disk = Vec::new();
    while disk.len() < model.0.len() {
        disk.append(&mut client.read(disk.len() as u64, 256 << 10).await?);
    }
    let wrong = disk.iter().zip(&model.0).position(|(found, expected)| found != expected);
    ensure!(wrong.is_none(), "byte {wrong:?} of the disk is not what was acknowledged last");
    println!("{} bytes read back, each as it was acknowledged last", disk.len());
    cluster.n1.order("trespass").await?;
    let answer = cluster.n1.says("trespassed ").await?;
    println!("n1 is no VIOS, and asks n3's storage: {answer}");
    ensure!(answer == "Err(NotTaken)", "the storage answers whoever asks");
    client.disconnect().await?;
    cluster.end().await
}

/// Serves the disk until standard input ends.
pub(crate) fn serve(layout: Layout) -> Result<()> {
    block_on(async {
        let mut cluster = Cluster::start(layout).await?;
        println!("n1: opened {}", cluster.n1.says("opened ").await?);
        println!("nbd+unix:///?socket={}", cluster.socket().display());
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        cluster.end().await
    })
}

/// Times reads in every layout.
pub(crate) fn measure(reads: u32) -> Result<()> {
    for device in [Device::Inline, Device::Thread] {
        for threads in [Threads::One, Threads::Beside, Threads::Apart] {
            // The other layouts are worth measuring all the same.
            if let Err(error) = block_on(measure_one(Layout { threads, device }, reads)) {
                println!("   not to be used: {error:#}");
            }
        }
    }
    Ok(())
}

async fn measure_one(layout: Layout, reads: u32) -> Result<()> {
    let mut cluster = Cluster::start(layout).await?;
    cluster.n1.says("opened ").await?;
    let mut client = Client::connect(&cluster.socket()).await?;
    client.write_all(&[(0, vec![1; 1 << 20])]).await?;
    let mut took = Vec::new();
    for number in 0..WARM_UP + reads {
        if number == WARM_UP {
            hops(&mut cluster).await?;
            took.clear();
        }
        let began = now();
        client.read(u64::from(number % 256) * 4096, 4096).await?;
        took.push(u64::try_from(began.elapsed().as_nanos())?);
    }
    println!("== threads {:?}, device {:?}: {reads} reads of 4 KiB", layout.threads, layout.device);
    println!("   p50 us   p99 us");
    let (p50, p99) = p50_p99(&mut took);
    print_row(p50, p99, "client, from writing to the socket to having read from it");
    let (count, rows) = hops(&mut cluster).await?;
    for (p50, p99, hop) in rows {
        print_row(p50, p99, &hop);
    }
    ensure!(count == reads, "only {count} of {reads} reads went through n2");
    client.disconnect().await?;
    cluster.end().await
}

/// The hops of all reads since the last time, and how many reads they are of.
async fn hops(cluster: &mut Cluster) -> Result<(u32, Vec<(u64, u64, String)>)> {
    cluster.n1.order("hops").await?;
    let mut rows = Vec::new();
    for _row in 0..MARKS {
        let row = cluster.n1.says("hop ").await?;
        let mut fields = row.splitn(3, ' ');
        let mut next = || fields.next().context("a row has three fields");
        rows.push((next()?.parse()?, next()?.parse()?, next()?.to_owned()));
    }
    Ok((cluster.n1.says("traces ").await?.parse()?, rows))
}

fn print_row(p50: u64, p99: u64, hop: &str) {
    println!("{:>6}.{} {:>6}.{}   {hop}", p50 / 1000, p50 / 100 % 10, p99 / 1000, p99 / 100 % 10);
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the edge: a run is timed for its reader")]
    std::time::Instant::now().into()
}
