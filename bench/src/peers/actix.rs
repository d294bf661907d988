//! Bare actix: an address on the same thread, asks with a time-out.

use std::path::Path;
use std::time::Duration;

use actix::dev::SendError;
use actix::{Actor, Addr};
use anyhow::{Context, Result};
use bytes::Bytes;

use super::echo::{Ask, Echo, Tally, Tell};
use crate::local::LocalPeer;

/// As the runtime's deadline: longer than any row takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The actor's address.
#[derive(Debug)]
pub(crate) struct Actix {
    addr: Addr<Echo>,
}

impl LocalPeer for Actix {
    async fn start(_credentials: &Path) -> Result<Self> {
        let addr = Echo::default().start();
        // Its mailbox has its length once it has started.
        addr.send(Tally).await.context("start")?;
        Ok(Self { addr })
    }

    async fn ask(&self, payload: Bytes) -> Result<Bytes> {
        Ok(self.addr.send(Ask { payload }).timeout(TIMEOUT).await?.payload)
    }

    async fn tell(&self, payload: &Bytes, count: u64) -> Result<()> {
        for _ in 0..count {
            match self.addr.try_send(Tell { payload: payload.clone() }) {
                Ok(()) => {}
                Err(SendError::Full(tell)) => self.addr.send(tell).timeout(TIMEOUT).await?,
                Err(SendError::Closed(_tell)) => anyhow::bail!("the actor has ended"),
            }
        }
        Ok(())
    }

    async fn tells_received(&self) -> Result<u64> {
        self.addr.send(Tally).timeout(TIMEOUT).await.context("tally")
    }
}
