//! One replica of a shard, an actor.
//!
//! It stands between the consensus library and those who speak to it: other replicas, and clients.
//! What clients want is checked here, before it is in any log.

mod actor;
mod arrive;
pub mod client;
mod gate;
mod lease;
mod life;
pub mod message;
mod read;
pub mod reform;
mod trim;
pub mod watch;

pub use self::actor::{Replica, Setup, replica_name};
pub use self::life::Life;
pub(crate) use self::life::Lives;
pub use self::trim::{Kept, Sending};
