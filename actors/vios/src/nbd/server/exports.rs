//! Which disks a server offers, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::{Device, Disk};
use crate::nbd::handshake::Catalog;

/// Disks by their export names.
pub trait Exports: Send + Sync + 'static {
    /// What is served.
    type Disk: Disk;

    /// The disk of that name. An empty name asks for the default one, if there is any.
    fn find(&self, name: &str) -> Option<Arc<Self::Disk>>;

    /// The names that clients may see, each at most 4096 bytes; at most 1024 are listed.
    fn names(&self) -> Vec<String>;
}

/// One disk, to be had by its name and by the empty one.
#[derive(Debug)]
pub struct OneExport<D> {
    name: String,
    disk: Arc<D>,
}

impl<D> OneExport<D> {
    /// Offers `disk` as `name`, at most 4096 bytes.
    pub fn new(name: impl Into<String>, disk: Arc<D>) -> Self {
        Self { name: name.into(), disk }
    }
}

impl<D: Disk> Exports for OneExport<D> {
    type Disk = D;

    fn find(&self, name: &str) -> Option<Arc<D>> {
        (name.is_empty() || name == self.name).then(|| Arc::clone(&self.disk))
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}

/// Disks by name; none of them is the default one, unless its name is empty.
impl<D: Disk> Exports for BTreeMap<String, Arc<D>> {
    type Disk = D;

    fn find(&self, name: &str) -> Option<Arc<D>> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Exports as the handshake asks for them.
#[derive(Debug)]
pub(super) struct Shown<'a, E> {
    pub(super) exports: &'a E,
    /// What one connection's requests may hold: no payload is longer, whatever the disk takes.
    pub(super) request_bytes_max: u64,
}

impl<E: Exports> Catalog for Shown<'_, E> {
    type Export = Arc<E::Disk>;

    fn find(&self, name: &str) -> Option<(Self::Export, Device)> {
        let disk = self.exports.find(name)?;
        let told = disk.device();
        let payload_max = u32::try_from(self.request_bytes_max).unwrap_or(u32::MAX);
        let device = Device { payload_max: told.payload_max.min(payload_max), ..told };
        match device.check() {
            Ok(()) => Some((disk, device)),
            Err(error) => {
                tracing::error!(export = name, %error, "a disk cannot be served");
                None
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.exports.names()
    }
}
