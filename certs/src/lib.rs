//! Certificates of a Vioduct cluster: its CA, its nodes' identities, and the TLS made of them.
//!
//! A cluster has a certificate authority of its own ([`ca::ClusterCa`]). Each node and each tool
//! holds one certificate whose URI SAN is its [`identity::Identity`]. [`credentials::Credentials`]
//! is what one process presents and trusts; it makes the TLS configurations of both sides of a
//! link, and says of every refused peer why ([`refusal::Refusal`]).
//!
//! Nothing here reads a clock: the time of day is an argument, or comes from the
//! [`rustls::time_provider::TimeProvider`] that the caller hands to TLS. Nothing here opens a
//! socket either.

pub mod ca;
pub mod ca_dir;
pub mod credentials;
pub mod crl;
pub mod dev;
pub mod files;
pub mod identity;
pub mod inspect;
pub mod install;
pub mod inventory;
pub mod issue_all;
pub mod moment;
pub mod refusal;
pub mod rotation;
pub mod serial;
pub mod trust;

mod leaf;
mod names;
mod profile;
mod provider;
mod record;
mod roles;
mod verify;

#[cfg(test)]
mod handshake_tests;

pub use leaf::LeafError;
pub use record::IssuedEntry;
pub use rustls_pki_types::UnixTime;
