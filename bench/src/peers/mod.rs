//! The peers that this program runs.

mod actix;
mod echo;
mod frame;
mod quinn_batched;
mod quinn_link;
mod quinn_tasks;
mod runtime;
mod vioduct;

pub(crate) use self::actix::Actix;
pub(crate) use self::quinn_batched::QuinnBatched;
pub(crate) use self::quinn_tasks::QuinnTasks;
pub(crate) use self::runtime::{LocalRuntime, Runtime};
pub(crate) use self::vioduct::Vioduct;

/// Bulk data is written from a buffer of this many bytes: more than a core keeps in its cache.
const BULK_MESSAGE_BYTES: usize = 4 << 20;
