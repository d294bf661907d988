//! The disk that a client sees.

use std::time::Duration;

use tokio::sync::Semaphore;
use vioduct_runtime::LocalRef;

use super::actor::{Ask, ClientLpar};
use crate::block::{Failure, Reply, Request};
use crate::disk::{Abilities, Device, Disk};

/// Longest read or write, bytes.
const PAYLOAD_MAX: u32 = 1 << 20;
/// Longer than an owner holds a request.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// A client's disk: its requests go to the actor that owns the LU.
#[derive(Debug)]
pub struct LparDisk {
    actor: LocalRef<ClientLpar>,
    device: Device,
    /// Requests that the owner may have or that wait for it.
    room: Semaphore,
}

impl LparDisk {
    /// The disk of this owner, with so many bytes. At most `requests_max` requests are let in at
    /// once; more wait.
    #[must_use]
    pub fn new(actor: LocalRef<ClientLpar>, size: u64, requests_max: usize) -> Self {
        let (payload_max, abilities) = (PAYLOAD_MAX, Abilities::ALL);
        let device = Device { payload_max, abilities, ..Device::new(size) };
        Self { actor, device, room: Semaphore::new(requests_max) }
    }
}

impl Disk for LparDisk {
    type Error = Failure;

    fn device(&self) -> Device {
        self.device
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        self.device.admit(&request)?;
        let _room = self.room.acquire().await.map_err(|_closed| Failure::ShuttingDown)?;
        self.actor.ask(Ask(request), DEADLINE).await.unwrap_or(Err(Failure::ShuttingDown))
    }
}
