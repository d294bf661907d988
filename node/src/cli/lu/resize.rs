//! `vioduct lu resize`: an LU becomes larger.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::time::interval;
use vioduct_certs::identity::NodeName;
use vioduct_node::config::ByteSize;
use vioduct_vios::api::{Lu, Pool, VioChange, VioId, VioRequest};
use vioduct_vios::repository::desk::{AskLu, Desk, LuState, REPOSITORY_NAME};

use crate::cli::api::{VersionArgs, first};
use crate::cli::db::Session;
use crate::cli::failure::Pending;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::vios::DbTargetArgs;

/// How often it is looked whether the storage is done, and how long it is waited for at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Arguments of `lu resize`.
#[derive(Debug, Args)]
pub(crate) struct ResizeArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its number.
    lu: u64,
    /// Its new size, not less than it has: bytes, or with a unit, as 512MiB, 10GiB, 2TiB.
    #[arg(long)]
    size: ByteSize,
    #[command(flatten)]
    version: VersionArgs,
    /// Don't wait until the storage has made it larger.
    #[arg(long)]
    no_wait: bool,
}

impl ResizeArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (session, lu, ByteSize(size)) = (self.db.open().await?, self.lu, self.size);
        let (change, version) = (VioChange::LuSize { lu, size }, self.version.if_version);
        let changed: Lu = first(session.call(VioRequest::Change { change, version }).await?)?;
        let mut done = "is to be made";
        if !self.no_wait {
            let waits = || {
                Pending(format!("LU {lu} is made {size} bytes large once its storage sees that"))
            };
            let grown = async {
                let pool = session.call(VioRequest::Read { id: VioId::Pool(changed.pool) }).await?;
                let storage = first::<Pool>(pool)?.storage;
                self.until_grown(&session, &storage.context("no node serves the pool")?).await
            };
            self.db.within(grown).await.map_err(|error| error.context(waits()))?;
            done = "is";
        }
        out.print(&Done::new("lu", lu, format!("LU {lu} {done} {size} bytes large")))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }

    async fn until_grown(&self, session: &Session, storage: &NodeName) -> Result<()> {
        let (name, addr) = self.db.target.one(Some(storage), "--cluster")?;
        let target = session.tool.connect(name, &addr).await?;
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            let ask = AskLu { lu: self.lu };
            let told = target.ask_if_there::<Desk, _>(REPOSITORY_NAME, ask, ASK_WITHIN).await;
            // A storage that is started anew meanwhile is waited for.
            if let Ok(Some(Some(LuState { size, .. }))) = told
                && size >= self.size.0
            {
                return Ok(());
            }
        }
    }
}
