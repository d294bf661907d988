//! The storage repository: logical units on a local disk, reached by VIOSes over the fabric.
//!
//! [`volume`] is what is on the disk, [`actor`] serves it. The sessions on it are the machine's,
//! [`Store`](crate::redirect::store::Store).

pub mod actor;
mod sealed;
pub mod volume;
