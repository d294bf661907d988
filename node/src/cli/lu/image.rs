//! `vioduct lu import`, `vioduct lu export`: the bytes of an LU from and to a raw image file.
//!
//! The command is a client of the LU for as long as it copies: it has that shown to itself by a VTD
//! of its own, and takes all that it has made away again, whatever comes of the copy. Killed, it
//! leaves a note in the database, by which the next such command does that.

mod file;
mod hypervisor;
mod progress;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail, ensure};
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, interval};
use vioduct_node::config::ByteSize;
use vioduct_node::status::SCHEMA;
use vioduct_vios::cluster::admin::{self, AdminError, Left, RUN_LEASE, Transfer};
use vioduct_vios::cluster::row::{ObjectName, TransferKind};
use vioduct_vios::copy::{Copied, copy};
use vioduct_vios::disk::Disk;
use vioduct_vios::file::{Config, FileDisk};
use vioduct_vios::nbd::client::Remote;
use vioduct_vios::redirect::name::LuId;

use self::file::NewFile;
use self::hypervisor::Hypervisor;
use self::progress::{Progress, say};
use super::provision::until_made;
use crate::cli::db::Session;
use crate::cli::node::StopSignals;
use crate::cli::output::OutputFormat;
use crate::cli::vios::DbTargetArgs;

/// LUs have whole blocks of so many bytes.
const BLOCK: u64 = 512;
/// How often it is looked whether another run of an LU has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Until then a killed run is told from one that runs.
const GONE_AFTER: Duration = RUN_LEASE.saturating_add(Duration::from_secs(3));

/// How the command reaches the LU.
#[derive(Debug, Args)]
struct WayArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// The host whose hypervisor carries the LU meanwhile; may be left out when there is one.
    #[arg(long)]
    cec: Option<u32>,
    /// Where that serves it: unix:/PATH or tcp:ADDR:PORT on its host. Left out, it is a Unix socket
    /// in its data directory, and this command has to run on the same host. TCP is neither
    /// encrypted nor authenticated.
    #[arg(long)]
    front: Option<String>,
}

/// Arguments of `lu import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    way: WayArgs,
    /// A raw image: a file or a block device.
    file: PathBuf,
    /// The pool that the LU is carved from.
    #[arg(long)]
    pool: ObjectName,
    /// Its size, if it is to be larger than the image: bytes, or with a unit, as 512MiB, 10GiB.
    #[arg(long)]
    size: Option<ByteSize>,
}

/// Arguments of `lu export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    way: WayArgs,
    /// Number of the LU.
    lu: u64,
    /// The raw image. There must be no such file yet; until it is complete, it has `.part` behind
    /// its name.
    file: PathBuf,
}

impl ImportArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { way, file, pool, size } = self;
        let image = || format!("{} is not imported", file.display());
        let config = Config { is_read_only: true, ..Config::default() };
        let source = FileDisk::open(&file, config).with_context(image)?;
        let bytes = source.device().size;
        let size = size.map_or_else(|| bytes.next_multiple_of(BLOCK), |ByteSize(size)| size);
        ensure!(bytes <= size, "the image has {bytes} bytes, and --size is less");
        let (run, mut stop) = (Run::begin(way).await?, StopSignals::listen()?);
        run.sweep().await?;
        let transfer = Transfer::import(&run.session.db, &pool, size, &run.by).await?;
        let lu = transfer.lu();
        let work = async {
            until_made(&run.way.db, &run.session, lu).await?;
            let disk = run.open(&transfer).await?;
            let copied = moved(&source, &disk, bytes, &disk).await?;
            disk.close().await;
            Ok(copied)
        };
        let copied = guarded(&transfer, &mut stop, work).await;
        let copied = run.end(transfer, copied).await.with_context(image)?;
        let moved = Moved::new("imported", lu, bytes, copied, run.began);
        run.answer(moved, out).await
    }
}

impl ExportArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { way, lu, file } = self;
        let (lu, mut stop) = (LuId(lu), StopSignals::listen()?);
        let context = || format!("LU {} is not exported", lu.0);
        let image = NewFile::create(&file).with_context(context)?;
        let run = Run::begin(way).await?;
        let transfer = tokio::select! {
            transfer = run.claim(lu) => transfer.with_context(context)?,
            signal = stop.next() => bail!("stopped by {signal}"),
        };
        let work = async {
            let disk = run.open(&transfer).await?;
            let bytes = disk.device().size;
            let target = image.disk(bytes)?;
            let copied = moved(&disk, &target, bytes, &disk).await?;
            disk.close().await;
            Ok((bytes, copied))
        };
        let copied = guarded(&transfer, &mut stop, work).await;
        let (bytes, copied) = run.end(transfer, copied).await.with_context(context)?;
        image.finish().await.with_context(context)?;
        let moved = Moved::new("exported", lu, bytes, copied, run.began);
        run.answer(moved, out).await
    }
}

/// Copies between an LU's disk and an image.
async fn moved(
    from: &impl Disk,
    to: &impl Disk,
    bytes: u64,
    connection: &Remote,
) -> Result<Copied> {
    let progress = Progress::new(bytes);
    tokio::select! {
        biased;
        end = connection.ended() => bail!("the connection to the LU ended: {end}"),
        copied = copy(from, to, bytes, |copied| progress.note(copied)) => Ok(copied?),
        never = progress.show() => match never {},
    }
}

/// What comes of the work, unless it may not go on.
async fn guarded<T>(
    transfer: &Transfer,
    stop: &mut StopSignals,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        error = transfer.keep() => Err(error.into()),
        signal = stop.next() => bail!("stopped by {signal}"),
    }
}

/// One run of the command.
struct Run {
    way: WayArgs,
    session: Session,
    /// Who runs it, for those who wait for it.
    by: String,
    began: Instant,
}

impl Run {
    async fn begin(way: WayArgs) -> Result<Self> {
        let session = way.db.open().await?;
        let by = format!("process {} of {}", std::process::id(), session.name());
        Ok(Self { way, session, by, began: Instant::now() })
    }

    /// Takes away what killed runs have left, and names the transfers that may run.
    async fn sweep(&self) -> Result<()> {
        let (gone, running) = admin::sweep(&self.session.db).await?;
        gone.iter().for_each(|left| say(&told(left)));
        for (lu, kind, by) in running {
            let what = format!("an {kind} of LU {} runs, by {by}", lu.0);
            let ago = RUN_LEASE.as_secs();
            say(&format!("{what}; or it was killed less than {ago} s ago, then run this again"));
        }
        Ok(())
    }

    /// Takes an LU for an export, once no other run has it; one that was killed is waited for.
    async fn claim(&self, lu: LuId) -> Result<Transfer> {
        let mut looks = interval(LOOK_EVERY);
        let mut is_told = false;
        loop {
            looks.tick().await;
            let (gone, _running) = admin::sweep(&self.session.db).await?;
            gone.iter().for_each(|left| say(&told(left)));
            match Transfer::export(&self.session.db, lu, &self.by).await {
                Err(AdminError::Transferring { kind: TransferKind::Export, by, .. })
                    if self.began.elapsed() < GONE_AFTER =>
                {
                    if !is_told {
                        let by = by.unwrap_or_else(|| "another run".to_owned());
                        say(&format!("waiting whether the export by {by} was killed"));
                    }
                    is_told = true;
                }
                claimed => return Ok(claimed?),
            }
        }
    }

    /// The LU's disk, shown to this run alone.
    async fn open(&self, transfer: &Transfer) -> Result<Remote> {
        let Self { way, session, .. } = self;
        let phyp = Hypervisor::find(&session.tool, &way.db.target, way.cec).await?;
        let front = way.front.as_deref();
        let vtd = transfer.show(&session.db, phyp.cec(), front).await?;
        phyp.serving(&way.db, transfer.lu(), vtd).await
    }

    /// Takes away what the run has made; the LU, too, if it was to be imported and is not.
    async fn end<T>(&self, transfer: Transfer, done: Result<T>) -> Result<T> {
        let lu = transfer.lu();
        match (transfer.end(&self.session.db, done.is_ok()).await, done) {
            (Ok(left), Err(error)) => {
                let deleted = || format!("LU {}, which was made for it, is deleted", lu.0);
                Err(if left.is_deleted { error.context(deleted()) } else { error })
            }
            (Ok(_left), done) => done,
            (Err(error), done) => {
                let left = format!(
                    "client and VTD of LU {} are not taken away ({error}): the next `vioduct lu \
                     import` or `export` does that, and deletes the LU if it was to be imported",
                    lu.0
                );
                Err(match done {
                    Ok(_done) => Error::msg(left),
                    Err(error) => error.context(left),
                })
            }
        }
    }

    async fn answer(self, moved: Moved, out: OutputFormat) -> Result<ExitCode> {
        out.print(&moved)?;
        self.session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// What was taken away, in words.
fn told(left: &Left) -> String {
    let shown = left.shown.iter().map(|(client, vtd)| format!("client {client}, VTD {}", vtd.0));
    let deleted = left.is_deleted.then(|| format!("LU {}", left.lu.0));
    let all: Vec<String> = shown.chain(deleted).collect();
    let all = if all.is_empty() { "nothing but its note".to_owned() } else { all.join(", ") };
    format!("taken away, since a killed {} of LU {} has left it: {all}", left.kind, left.lu.0)
}

/// What `lu import` and `lu export` answer.
#[derive(Debug, Serialize)]
struct Moved {
    schema: u32,
    lu: u64,
    done: &'static str,
    /// Of the image.
    bytes: u64,
    /// Those of them that were written; the others read as zero.
    written: u64,
    seconds: f64,
}

impl Moved {
    fn new(done: &'static str, lu: LuId, bytes: u64, copied: Copied, began: Instant) -> Self {
        let (written, seconds) = (copied.written, began.elapsed().as_secs_f64());
        Self { schema: SCHEMA, lu: lu.0, done, bytes, written, seconds }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lu, done, bytes, written, seconds, .. } = self;
        writeln!(
            f,
            "LU {lu} is {done}: {bytes} bytes, {written} of them written, in {seconds:.1} s"
        )
    }
}
