//! The transport over loopback, with real certificates: what links promise, under faults, changes
//! of trust and hostile peers.
#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod allocation;
mod delivery;
mod dismissal;
mod hostile;
mod idle;
mod killed;
mod limits;
mod link;
mod mesh;
mod mtu;
mod refusals;
mod support;
mod trust;
