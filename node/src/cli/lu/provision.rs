//! `vioduct lu create`, `vioduct lu delete`: LUs as the cluster's database has them.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::interval;
use vioduct_certs::identity::NodeName;
use vioduct_node::config::ByteSize;
use vioduct_vios::api::{Lu, VioCode, VioId, VioNew, VioRequest};
use vioduct_vios::cluster::row::{LuPhase, ObjectName};
use vioduct_vios::redirect::name::LuId;

use crate::cli::api::{VersionArgs, first};
use crate::cli::db::Session;
use crate::cli::failure::Pending;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::vios::DbTargetArgs;

/// How often it is looked whether the storage is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `lu create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// The pool that it is carved from.
    #[arg(long)]
    pool: ObjectName,
    #[command(flatten)]
    what: WhatArgs,
    /// The VIOS of this node alone uses the export, whose connections may differ in what they show.
    #[arg(long, value_name = "NODE", requires = "export")]
    only: Option<NodeName>,
    /// Don't wait until the storage has made it.
    #[arg(long)]
    no_wait: bool,
}

/// What an LU is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// Its size: bytes, or with a unit, as 512MiB, 10GiB, 2TiB.
    #[arg(long)]
    size: Option<ByteSize>,
    /// An export of a storage outside of the cluster, which has it already; "" for its default one.
    #[arg(long, value_name = "NAME")]
    export: Option<String>,
}

/// Arguments of `lu delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its number.
    lu: u64,
    #[command(flatten)]
    version: VersionArgs,
    /// Don't wait until the storage has freed its room.
    #[arg(long)]
    no_wait: bool,
}

impl CreateArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let session = self.db.open().await?;
        let (pool, WhatArgs { size, export }) = (self.pool, self.what);
        let object = match (export, size) {
            (Some(name), _) => {
                self.only.iter().try_for_each(|node| self.db.target.names(node))?;
                VioNew::Export { pool, name, only: self.only }
            }
            (None, size) => VioNew::Lu { pool, size: size.map_or(0, |ByteSize(size)| size) },
        };
        let made: Lu = session.create(object).await?;
        let lu = LuId(made.lu);
        let mut done = "is made";
        if made.phase == LuPhase::Making && self.no_wait {
            done = "is to be made by its storage";
        } else {
            until_made(&self.db, &session, lu).await?;
        }
        out.print(&Done::new("lu", lu.0, format!("LU {} {done}", lu.0)))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl DeleteArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let (session, lu) = (self.db.open().await?, LuId(self.lu));
        let (id, version) = (VioId::Lu(lu.0), self.version.if_version);
        let left = session.call(VioRequest::Delete { id, version }).await?.objects;
        let mut done = "is deleted";
        if !left.is_empty() && self.no_wait {
            done = "is to be deleted by its storage";
        } else if !left.is_empty() {
            let is_gone = async {
                let mut looks = interval(LOOK_EVERY);
                while look(&session, lu).await?.is_some() {
                    looks.tick().await;
                }
                anyhow::Ok(())
            };
            if let Err(error) = self.db.within(is_gone).await {
                return Err(error.context(waits(lu, "is deleted")));
            }
        }
        out.print(&Done::new("lu", lu.0, format!("LU {} {done}", lu.0)))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Waits until an LU is there.
pub(super) async fn until_made(db: &DbTargetArgs, session: &Session, lu: LuId) -> Result<()> {
    let is_made = async {
        let mut looks = interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            match look(session, lu).await? {
                Some(lu) if lu.phase == LuPhase::Making => {}
                found => return anyhow::Ok(found.map(|lu| lu.phase)),
            }
        }
    };
    match db.within(is_made).await {
        Ok(Some(LuPhase::Ready)) => Ok(()),
        Ok(Some(LuPhase::Failed(why))) => bail!("LU {} is not made: {why}", lu.0),
        Ok(_deleted) => bail!("LU {} was deleted meanwhile", lu.0),
        Err(error) => Err(error.context(waits(lu, "is made"))),
    }
}

/// An LU, if there is one.
async fn look(session: &Session, lu: LuId) -> Result<Option<Lu>> {
    match session.call(VioRequest::Read { id: VioId::Lu(lu.0) }).await {
        Ok(found) => first(found).map(Some),
        Err(exception) if exception.code == VioCode::Missing => Ok(None),
        Err(exception) => Err(exception.into()),
    }
}

fn waits(lu: LuId, done: &str) -> Pending {
    Pending(format!("LU {} {done} as soon as its storage runs, with [cm] in its file", lu.0))
}
