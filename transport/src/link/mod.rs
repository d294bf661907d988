//! One link: the state that stays while connections to the peer come and go.

mod awaited;
pub(crate) mod backoff;
pub(crate) mod driver;
pub(crate) mod machine;
mod shared;
mod vigil;

pub use awaited::Hold;
pub use shared::{Flow, Link, LinkState, LinkStats, Ticket};
pub(crate) use shared::{LinkShared, PeerKey};
