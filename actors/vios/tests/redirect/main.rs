//! The redirect protocol's machines together: owners, relays and a store, over a network and a disk
//! that fail. The machines are the real ones; only what lies between them is made up.

#![allow(missing_docs, reason = "a test crate has no readers of its documentation")]

mod disk;
mod model;
mod oracle;
mod plan;
mod schedules;
mod world;
