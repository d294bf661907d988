//! The storage repository: logical units on a local disk, reached by VIOSes over the fabric.
//!
//! [`volume`] is what is on the disk. The sessions on it are the machine's,
//! [`Store`](crate::redirect::store::Store).

mod sealed;
pub mod volume;
