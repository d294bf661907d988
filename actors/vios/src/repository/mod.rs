//! The storage repository: logical units on a local disk, reached by VIOSes over the fabric.
//!
//! [`volume`] is what is on the disk, [`backing`] an LU's bytes, [`actor`] serves them. The
//! sessions on it are the machine's, [`Store`](crate::redirect::store::Store). [`desk`] is what the
//! repository tells and grants to those who are no VIOS, `room` how much room there is, and
//! `provision` makes, grows and deletes LUs.

pub mod actor;
pub mod backing;
pub mod desk;
pub(crate) mod provision;
pub mod room;
pub(crate) mod sealed;
mod users;
pub mod volume;
