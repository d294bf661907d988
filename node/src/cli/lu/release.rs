//! `vioduct lu release`: a hypervisor that owned an LU is gone.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use vioduct_vios::api::{Lu, VioChange, VioRequest};

use crate::cli::api::{VersionArgs, first};
use crate::cli::output::{Done, OutputFormat};
use crate::cli::vios::DbTargetArgs;

/// Arguments of `lu release`.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    db: DbTargetArgs,
    /// Its number.
    lu: u64,
    #[command(flatten)]
    version: VersionArgs,
}

impl ReleaseArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let Self { db, lu, version } = self;
        let session = db.open().await?;
        let (change, version) = (VioChange::LuRelease { lu }, version.if_version);
        let Lu { lu, .. } = first(session.call(VioRequest::Change { change, version }).await?)?;
        out.print(&Done::new("lu", lu, format!("LU {lu} may be used by any hypervisor")))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
