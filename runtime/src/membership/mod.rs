//! Who is a member of the cluster, and who is not any more.
//!
//! [`Machine`] is a pure machine around foca, which runs SWIM with suspicion: each node probes one
//! random member a period, others are asked when it does not answer, and news travels on the
//! probes. What a node sends does not grow with the cluster.
//!
//! ```text
//!                                    no answer                   no answer in time
//!  ─── first heard of ──▶ alive ─────────────────▶ suspect ────────────────────────▶ down
//!        (`Up`)            ▲ ▲      (`Suspect`)       │            (`Down`)          │ ▲
//!                          │ └────────────────────────┘                              │ │ leaves
//!                          │        it spoke up (`Refuted`)                          │ └── from
//!                          └─────────────────────────────────────────────────────────┘  alive,
//!                               with a higher incarnation (`Returned`)                  suspect
//!
//!  this node: apart ──join──▶ member ──told that it is down, or superseded──▶ expelled
//!                               ▲ └──leave──▶ left                               │
//!                               └─────────── renewed: a higher incarnation ──────┘
//! ```
//!
//! # Two kinds of incarnation
//!
//! *Ours* is the run of a node: it rises with each start, the handshake of a link tells it, and
//! references to actors carry it. *foca's* is a counter of 16 bits within such a run, which only
//! the member itself raises, to refute a suspicion; here it is called refutations. To foca, name
//! and our incarnation make an identity, the name alone is what foca calls an address, so that of
//! two identities with one name the higher incarnation wins (`Identity::win_addr_conflict`) and the
//! other one is forgotten. foca's offer to rejoin by itself (`Identity::renew`) is turned down: a
//! node that was declared down has lost its links and watchers, and must start anew to say so. It
//! learns of it ([`MemberEvent::Expelled`]) and returns by [`Input::Renewed`].
//!
//! # Invariants
//!
//! 1. A member's incarnation never falls, and of one incarnation, `Down` is the last event.
//! 2. Of a datagram whose sender is not the link's peer, nothing is believed; of one that cannot be
//!    read to its end, neither.
//! 3. A node sends to members and seeds only, where they themselves, or the operator, said.
//! 4. Names known, timers and effects of one input have bounds; so has each datagram.
//! 5. Time in which the machine was not called makes nobody suspect or down.
//! 6. Of two nodes that hold each other for down, the one with fewer members gives in.
//!
//! # What it trusts
//!
//! Members believe each other about third parties, as gossip does: a member that lies can have
//! others suspected or declared down, and can say a wrong address of a node that nobody heard yet.
//! It can't speak for another one on its link. The remedy is to revoke its certificate. Roles that
//! gossip names authorize nothing.
//!
//! A node that was forgotten for want of room ([`MembershipConfig::members_max`]) is not
//! quarantined any more.
//!
//! Sources: A. Das, I. Gupta, A. Motivala, "SWIM: Scalable Weakly-consistent Infection-style
//! Process Group Membership Protocol" (2002), sections 3 and 4; foca 2.0.

mod chance;
mod codec;
mod config;
mod edge;
mod frame;
mod input;
mod machine;
mod member;
mod moment;
mod table;
mod walk;

pub use config::{MembershipConfig, MembershipConfigError};
pub use input::{
    DownReason, Dropped, Effect, ExpelReason, Input, MemberEvent, RefuseReason, SEEDS_MAX, Seed,
};
pub use machine::Machine;
pub use member::{Member, MemberState};
pub use moment::Moment;

#[cfg(test)]
mod tests;
