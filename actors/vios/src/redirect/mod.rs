//! The redirect protocol: how a client's disk outlives its paths, and nothing acknowledged is lost
//! or undone.
//!
//! Three pure machines carry messages between each other: input and time in, effects out.
//!
//! ```text
//!  clients ──▶ Owner (L) ──Call──▶ Relay (entry) ──Call, hop 1──▶ Relay (exit) ──Call──▶ Store (S)
//!                  ▲───────────────── Word ◀──────── Word ◀──────────────── Word ◀─────────┘
//! ```
//!
//! One mechanism answers every event, be it a lost path, a restarted store, a restarted owner or a
//! better path: *the owner opens a new session, repairs, goes on.* Sessions are numbered by
//! [`Epoch`], the storage admits exactly the open one, and remembers it before it says so.
//!
//! `docs/redirect.md` says where each rule lives and which test holds it.

mod chance;
pub mod dirty;
pub mod hold;
pub mod initiator;
pub mod limits;
pub mod message;
mod moment;
pub mod name;
pub mod owner;
pub mod relay;
pub mod store;

pub use moment::Moment;
pub use name::Epoch;
