//! `vioduct-loadtest block`: reads and writes of served disks, and of clients' disks through their
//! actors; each read checked against what may be there.

mod board;
mod checker;
mod client;
mod content;
mod event;
mod gate;
mod hypervisor;
mod link;
mod mix;
mod report;
mod run;
mod stall;
mod target;
mod uri;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use vioduct_loadtest::stats::LatencyRecorder;
use vioduct_vios::disk::Abilities;
use vioduct_vios::roles::phyp::OpenDisks;

use crate::cli::BlockArgs;
use crate::clock::Clock;
use crate::control::{Control, on_one_thread};
use crate::noise::mix as spread;
use crate::output;
use board::Board;
use checker::{Checker, Place, Reads};
use client::{Client, State};
use content::Content;
use gate::Gate;
use link::Link;
use mix::{Mix, Pattern, Shares};
use stall::Stalls;

pub(crate) use target::Target;

/// The largest block that is checked as one: what a page of memory holds is written as a whole.
const BLOCK_BYTES_MAX: u64 = 4096;
/// Blocks of all clients.
const BLOCKS_MAX: u64 = 8 << 20;
/// Bytes of all requests that are under way.
const BYTES_MAX: u64 = 1 << 30;
/// Bytes of a request that fills the range, or reads it back.
const SWEEP_BYTES_MAX: u32 = 1 << 20;

/// What to do, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    clients: u32,
    block_bytes: u32,
    /// In blocks.
    sizes: Vec<u32>,
    shares: Shares,
    pattern: Pattern,
}

impl Plan {
    /// Checks what the command line alone can't.
    ///
    /// # Errors
    /// Values that do not fit each other. Fault: the caller.
    pub(crate) fn new(args: &BlockArgs) -> Result<Self> {
        let lu = args.disks.iter().find(|target| matches!(target, Target::Lu(_)));
        match (lu, &args.hypervisor) {
            (Some(lu), None) => bail!(
                "{lu} is found at a hypervisor that runs here: name its node's file, \
                 --hypervisor vioduct.toml"
            ),
            (None, Some(file)) => bail!(
                "--hypervisor {}: name LUs of its clients as disks, lu:N, or leave it out",
                file.display()
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let disks = u32::try_from(args.disks.len())?;
        let clients = args.clients.unwrap_or(disks);
        ensure!(clients >= disks, "--clients {clients}: there are {disks} disks");
        let common = args
            .size
            .iter()
            .fold(BLOCK_BYTES_MAX, |common, size| common.min(size & size.wrapping_neg()));
        ensure!(common >= content::SECTOR_BYTES as u64, "--size: whole sectors of 512 bytes");
        let block_bytes = u32::try_from(common)?;
        let largest = args.size.iter().copied().max().unwrap_or_default();
        let under_way = largest.saturating_mul(args.depth.into());
        ensure!(
            under_way.saturating_mul(clients.into()) <= BYTES_MAX,
            "--depth {} of {largest} bytes for {clients} clients: {BYTES_MAX} bytes at most",
            args.depth
        );
        let blocks = (args.range / common).saturating_mul(clients.into());
        ensure!(blocks <= BLOCKS_MAX, "--range: {BLOCKS_MAX} blocks of {common} bytes at most");
        let (fua, zeroes, trims) = (args.fua, args.zeroes, args.trims);
        ensure!(fua + zeroes + trims <= 100, "--fua, --zeroes and --trims: 100 per cent at most");
        if let Some(rate) = args.rate {
            ensure!(rate >= clients, "--rate {rate} is spread over {clients} clients");
        }
        for (time, command) in args.at.iter().chain(&args.power_cut) {
            ensure!(*time < args.duration, "{command:?} comes after the end of the load");
        }
        let sizes = args.size.iter().map(|size| u32::try_from(size / common));
        Ok(Self {
            clients,
            block_bytes,
            sizes: sizes.collect::<Result<_, _>>().context("--size")?,
            shares: Shares {
                read_percent: args.reads,
                fua_percent: fua,
                zeroes_percent: zeroes,
                trim_percent: trims,
                flush_every: args.flush_every,
            },
            pattern: if args.sequential { Pattern::Sequential } else { Pattern::Random },
        })
    }

    fn largest_bytes(&self) -> u32 {
        self.sizes.iter().max().map_or(0, |blocks| blocks.saturating_mul(self.block_bytes))
    }

    /// Whether a disk can do what it will be asked.
    fn check(&self, can: &Abilities) -> Result<()> {
        let Shares { fua_percent, zeroes_percent, trim_percent, flush_every, .. } = self.shares;
        ensure!(!can.is_read_only, "it is read-only");
        for (name, is_asked, is_able) in [
            ("flush", flush_every > 0, can.can_flush),
            ("FUA", fua_percent > 0, can.can_fua),
            ("zeroes", zeroes_percent > 0, can.can_write_zeroes),
            ("trims", trim_percent > 0, can.can_trim),
        ] {
            ensure!(is_able || !is_asked, "it does not support {name}");
        }
        Ok(())
    }
}

/// What all clients of a run have in common.
struct Parts<'a> {
    args: &'a BlockArgs,
    plan: &'a Plan,
    /// Those of the hypervisor that runs here, if one does.
    disks: Option<OpenDisks>,
    clock: Clock,
    board: Rc<RefCell<Board>>,
    gate: Rc<Gate>,
    /// Tells this run's content from that of others.
    run: u64,
}

impl Parts<'_> {
    /// Connects a client to its disk, and gives it its part of it.
    async fn client(&self, number: u32) -> Result<Client> {
        let (args, plan) = (self.args, self.plan);
        let disks = u32::try_from(args.disks.len())?;
        let (disk, part) = (number % disks, u64::from(number / disks));
        let target = args.disks.get(disk as usize).context("a disk for each client")?;
        let link = Link::connect(target, self.disks.as_ref(), args.depth, args.deadline).await?;
        let device = link.conn().await.device();
        plan.check(&device.abilities).with_context(|| target.to_string())?;
        let block_bytes = plan.block_bytes;
        let largest = plan.largest_bytes();
        if device.block_min > block_bytes || device.payload_max < largest {
            let (min, max) = (device.block_min, device.payload_max);
            bail!("{target}: requests are multiples of {min} bytes there, and {max} at most");
        }
        let parts = u64::from((plan.clients - disk).div_ceil(disks));
        let blocks = args.range.min(device.size / parts) / u64::from(block_bytes);
        let blocks = u32::try_from(blocks)?;
        let range = u64::from(blocks) * u64::from(block_bytes);
        // Random places are then free more often than not.
        let range_min = 2 * u64::from(args.depth) * u64::from(largest);
        ensure!(
            range >= range_min,
            "{target}: each client has {range} bytes; for --depth {} it needs {range_min}",
            args.depth
        );
        let offset = part * range;
        let content = Content::new(spread(self.run ^ u64::from(disk)));
        let place = Place { offset, block_bytes: block_bytes as usize, blocks };
        let reads = if args.overlap { Reads::Beside } else { Reads::Apart };
        let chance = StdRng::seed_from_u64(spread(args.seed ^ spread(number.into())));
        let state = State {
            mix: Mix::new(plan.shares, plan.pattern, plan.sizes.clone(), blocks, chance),
            checker: Checker::new(content, place, reads, !args.power_cut.is_empty()),
            stalls: Stalls::default(),
            latencies: LatencyRecorder::new()?,
            transfers: 0,
            errors: 0,
            violations: 0,
            is_flushing: false,
        };
        Ok(Client {
            number: number as usize,
            link,
            offset,
            block_bytes,
            blocks,
            sweep_blocks: (SWEEP_BYTES_MAX.min(device.payload_max) / block_bytes).max(1),
            deadline: args.deadline,
            clock: self.clock.clone(),
            gate: Rc::clone(&self.gate),
            board: Rc::clone(&self.board),
            state: RefCell::new(state),
            freed: tokio::sync::Notify::new(),
        })
    }
}

/// Runs to the end, and prints the result.
///
/// # Errors
/// The run did not start, or its result can't be written.
pub(crate) fn run(args: &BlockArgs, plan: Plan) -> Result<ExitCode> {
    let report = on_one_thread(async {
        // First: a signal while the hypervisor starts is not lost, and that is closed in order.
        let control = Control::begin(args.shown.progress)?;
        match &args.hypervisor {
            Some(file) => {
                let load = async |disks| run::measure(args, &plan, control, Some(disks)).await;
                hypervisor::beside(file, load).await
            }
            None => run::measure(args, &plan, control, None).await,
        }
    })?;
    output::write(&report, &args.shown)?;
    Ok(report.exit_code())
}
