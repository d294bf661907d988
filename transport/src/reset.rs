//! What lets a node that was killed say so to its peers once it runs again: the keys of stateless
//! resets (RFC 9000, section 10.3), the same in each run.
//!
//! A peer that still sends on a connection of the run before gets a reset, with a token that only
//! who has the keys can make, and knows at once that the connection is lost. Without them it hears
//! nothing until it gives the connection up as silent.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;

/// Resets leave at most this often: a thousand peers are told within a second, and whoever sends
/// what belongs to no connection gets fewer and smaller packets back than it sends.
const RESET_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// A secret that a node keeps over its runs. Who knows it can end this node's connections, and do
/// nothing else with it.
#[derive(Clone)]
pub struct ResetSecret([u8; 32]);

impl fmt::Debug for ResetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetSecret")
    }
}

impl From<[u8; 32]> for ResetSecret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl ResetSecret {
    /// One that no other run has: peers of this run hear nothing of the next.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// What is to be kept for the next run, where nobody else reads it.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Sets the keys of the endpoint at this address.
    ///
    /// Each address has its own: an endpoint answers for connections that it does not know, and one
    /// of the same key at another address would give the tokens of living connections away
    /// (RFC 9000, section 21.11).
    pub(crate) fn apply(&self, addr: SocketAddr, quic: &mut EndpointConfig) {
        let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &self.derive(b"reset", addr));
        let [a, b, c, d, e, f, g, h, ..] = self.derive(b"connection id", addr);
        let id_key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        quic.reset_key(Arc::new(reset_key))
            .min_reset_interval(RESET_INTERVAL_MIN)
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
    }

    fn derive(&self, purpose: &[u8], addr: SocketAddr) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        context.update(purpose);
        // No purpose has one: where it ends is plain.
        context.update(&[0]);
        context.update(addr.to_string().as_bytes());
        let mut derived = [0; 32];
        derived.copy_from_slice(context.sign().as_ref());
        derived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_in_each_run_and_others_at_each_address_and_for_each_purpose() {
        let addr = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let derived = |secret: u8, purpose: &[u8], port| {
            ResetSecret::from([secret; 32]).derive(purpose, addr(port))
        };
        let key = derived(1, b"reset", 7400);
        assert_eq!(key, derived(1, b"reset", 7400));
        assert_ne!(key, derived(1, b"reset", 7401));
        assert_ne!(key, derived(2, b"reset", 7400));
        assert_ne!(key, derived(1, b"connection id", 7400));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", ResetSecret::from([7; 32])), "ResetSecret");
    }
}
