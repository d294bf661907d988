//! A disk in memory whose requests wait until they are let go.

use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use vioduct_vios::block::{Failure, Reply, Request};
use vioduct_vios::disk::{Abilities, Device, Disk};

pub(crate) struct StuckDisk {
    device: Device,
    /// Requests that were handed over, in order.
    begun: Mutex<Vec<Request>>,
    count: watch::Sender<usize>,
    gate: Semaphore,
}

impl StuckDisk {
    pub(crate) fn new() -> Self {
        Self::with(Device {
            abilities: Abilities { is_read_only: true, ..Abilities::default() },
            ..Device::new(1 << 20)
        })
    }

    /// Takes writes too.
    pub(crate) fn new_writable() -> Self {
        Self::with(Device {
            abilities: Abilities { can_flush: true, ..Abilities::default() },
            ..Device::new(1 << 20)
        })
    }

    pub(crate) fn with(device: Device) -> Self {
        let (count, _) = watch::channel(0);
        Self { device, begun: Mutex::default(), count, gate: Semaphore::new(0) }
    }

    /// Lets so many requests go.
    pub(crate) fn let_go(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    /// Waits until so many requests were handed over.
    pub(crate) async fn has_begun(&self, requests: usize) {
        self.count.subscribe().wait_for(|count| *count >= requests).await.unwrap();
    }

    pub(crate) fn begun(&self) -> Vec<Request> {
        self.begun.lock().unwrap().clone()
    }
}

impl Disk for StuckDisk {
    type Error = Failure;

    fn device(&self) -> Device {
        self.device
    }

    async fn execute(&self, request: Request) -> Result<Reply, Failure> {
        let reply = match &request {
            Request::Read { extent } => {
                Reply::Data(Bytes::from(vec![7; extent.length.try_into().unwrap()]))
            }
            _other => Reply::Done,
        };
        self.begun.lock().unwrap().push(request);
        self.count.send_modify(|count| *count += 1);
        self.gate.acquire().await.unwrap().forget();
        Ok(reply)
    }
}
