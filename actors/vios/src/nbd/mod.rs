//! Network block devices: the way in of a client's virtual disk, and a way out to a remote one.
//!
//! [`server`] serves a [`Disk`](crate::disk::Disk) to QEMU, libnbd, fio and the Linux kernel;
//! [`client`] is a disk that a remote server holds. What is supported and refused is in
//! `docs/nbd.md`.
//!
//! `wire` has the bytes, `handshake` both sides' handshake, `admission` and `answer` the server's
//! judgement and replies, `assembly` the client's view of replies; these are pure, as are `intake`
//! and `outgoing`, which cut and gather a socket's bytes.
//!
//! Source: NBD proto.md, <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>.

mod admission;
mod answer;
mod assembly;
pub mod client;
mod handshake;
mod intake;
mod outgoing;
pub mod server;
mod socket;
pub(crate) mod wire;

pub use assembly::ReplyError;
pub use handshake::{HandshakeError, Refusal};
pub use wire::WireError;
