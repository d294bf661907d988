//! Commands as callers of the VIO API.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use vioduct_vios::api::{Object, Vio, VioException, VioId, VioNew, VioRequest, VioResponse};

use crate::cli::db::Session;
use crate::cli::output::{Done, OutputFormat};
use crate::cli::vios::DbTargetArgs;

/// Which version a command means.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct VersionArgs {
    /// Only if it has this version, as lists show it: nobody has changed it since.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
}

impl Session {
    /// Asks the VIO API.
    pub(crate) async fn call(&self, request: VioRequest) -> Result<VioResponse, VioException> {
        Vio::new(self.db.clone()).call(request).await
    }

    /// Has an object made. Gives it as it is then.
    pub(crate) async fn create<T: Object>(&self, object: VioNew) -> Result<T> {
        first(self.call(VioRequest::Create { object }).await?)
    }
}

/// The object that an answer has.
pub(crate) fn first<T: Object>(answer: VioResponse) -> Result<T> {
    answer.first().context("the answer does not fit the request")
}

impl DbTargetArgs {
    /// Has an object made, and prints what was done.
    pub(crate) async fn create<T: Object, W: Serialize>(
        &self,
        object: VioNew,
        out: OutputFormat,
        done: impl FnOnce(T) -> Done<W>,
    ) -> Result<ExitCode> {
        let session = self.open().await?;
        out.print(&done(session.create(object).await?))?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }

    /// Has an object deleted, and prints what was done.
    pub(crate) async fn delete(
        &self,
        id: VioId,
        VersionArgs { if_version }: VersionArgs,
        out: OutputFormat,
        done: Done<impl Serialize>,
    ) -> Result<ExitCode> {
        let session = self.open().await?;
        session.call(VioRequest::Delete { id, version: if_version }).await?;
        out.print(&done)?;
        session.tool.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
