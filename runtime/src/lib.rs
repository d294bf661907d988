//! A cluster of actix actors that any tokio service can embed.
//!
//! A [`Node`] holds actors and links to other nodes, mutually authenticated and encrypted. An actor
//! that exports its messages is found by name from other nodes, and sent to through an
//! [`ActorRef`], which is the same wherever the actor runs:
//!
//! - [`ActorRef::tell`] sends, waiting while the actor has no room: a slow actor slows its own
//!   senders and nobody else.
//! - [`ActorRef::ask`] waits for the answer until a deadline, which ends the work over there too.
//! - Errors say whether a message was [not delivered](NotDelivered) or [maybe](Doubt).
//!
//! `docs/runtime-semantics.md` has every promise, with the test that holds it.

extern crate self as vioduct_runtime;

mod access;
mod actor;
mod actors;
mod cancellable;
mod cluster;
mod codec;
mod current;
mod envelope;
mod error;
mod exports;
mod id;
mod inbox;
pub mod inspect;
mod listener;
pub mod membership;
pub mod message;
mod names;
mod node;
mod peer;
mod reference;
pub mod relay;
mod remote;
mod router;
pub mod schema;
mod scratch;
mod supervision;
pub mod trace;
mod worker;

pub use vioduct_runtime_derive::{RemoteMessage, Wire};

pub use crate::access::Access;
pub use crate::actor::{ActorBuilder, ActorHandle};
pub use crate::cancellable::Cancellable;
pub use crate::cluster::{ClusterConfig, ClusterView, MemberEvents, NoEvent, Standing};
pub use crate::codec::{Codec, DecodeError, EncodeError};
pub use crate::current::{caller, myself};
pub use crate::error::{
    AskError, DEADLINE_MAX, Doubt, EndReason, NotDelivered, NotTaken, Skew, StartError,
};
pub use crate::id::{ActorId, ActorName, ActorNameError, GroupName, NAME_BYTES_MAX};
pub use crate::listener::LinkListener;
pub use crate::message::{RemoteMessage, Wire};
pub use crate::names::{Group, GroupAnswers, GroupSend};
pub use crate::node::{Node, NodeBuilder, NodeError};
pub use crate::reference::{Accepts, ActorRef, LocalRef, Terminated};
pub use crate::supervision::policy::RestartPolicy;
pub use crate::worker::WORKERS_MAX;
