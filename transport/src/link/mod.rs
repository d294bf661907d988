//! One link: the state that stays while connections to the peer come and go.

pub(crate) mod backoff;
pub(crate) mod driver;
pub(crate) mod machine;
mod shared;

pub use shared::{Flow, Link, LinkState, LinkStats, Ticket};
pub(crate) use shared::{LinkShared, PeerKey};
