//! Why a peer was turned away, as a value.
//!
//! TLS tells the two sides little: an alert number on one, a text on the other. The verifier of
//! each handshake therefore leaves its reason in a [`RefusalSlot`] that the caller keeps.

use std::sync::{Arc, OnceLock};

use rustls_pki_types::UnixTime;

use crate::identity::{ClusterName, IdentityError, NodeName};
use crate::moment::text;
use crate::serial::Serial;

/// Why a certificate was refused.
///
/// [`Refusal::label`] is stable and belongs into logs and metrics; the message is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer showed no certificate. Seen by TLS itself, never by the verifier: the caller maps
    /// alert 116 (certificate required) to it.
    #[error("peer showed no certificate; give it one with `vioduct ca issue`")]
    NoCertificate,
    /// The certificate is signed by its own key.
    #[error("certificate is self-signed; have the cluster's CA sign one for this host")]
    SelfSigned,
    /// No root of the bundle issued the certificate.
    #[error("certificate was not issued by a CA in this host's ca.crt")]
    ForeignCa,
    /// The certificate's life is over.
    #[error(
        "certificate expired at {} and it is {} here; issue a new one, or set the clock",
        text(*not_after), text(*now)
    )]
    Expired {
        /// The time of the check.
        now: UnixTime,
        /// The last moment of the certificate's life.
        not_after: UnixTime,
    },
    /// The certificate's life has not begun.
    #[error(
        "certificate is valid from {} and it is {} here; compare the clocks of both hosts",
        text(*not_before), text(*now)
    )]
    NotYetValid {
        /// The time of the check.
        now: UnixTime,
        /// The first moment of the certificate's life.
        not_before: UnixTime,
    },
    /// The CA has revoked the certificate.
    #[error("certificate {serial} is revoked")]
    Revoked {
        /// The certificate's serial number.
        serial: Serial,
    },
    /// The certificate belongs to another cluster of the same CA.
    #[error("certificate is of cluster {got}, this is cluster {expected}")]
    WrongCluster {
        /// This side's cluster.
        expected: ClusterName,
        /// The cluster that the certificate names.
        got: ClusterName,
    },
    /// The certificate's extended key usage does not allow what it was used for.
    #[error("certificate's key usage does not allow this side of a link")]
    WrongUsage,
    /// The dialled address is another node's.
    #[error("the node at this address is {got}, dialled was {expected}; correct the address")]
    WrongNode {
        /// The node that was dialled.
        expected: NodeName,
        /// The node that answered.
        got: NodeName,
    },
    /// No revocation list of the certificate's issuer is loaded.
    #[error("no revocation list of the certificate's issuer is loaded; add it to ca.crl")]
    CrlMissing,
    /// The revocation list is too old to be believed.
    #[error(
        "revocation list was to be replaced by {}; run `vioduct ca crl` and install it",
        text(*next_update)
    )]
    CrlStale {
        /// When a newer list was promised.
        next_update: UnixTime,
    },
    /// The revocation list can't be used for this certificate. The text is the TLS library's.
    #[error("revocation list is unusable: {0}")]
    CrlUnusable(String),
    /// The certificate's names are not an identity.
    #[error("certificate names no identity: {0}")]
    BadIdentity(IdentityError),
    /// Anything else that makes the certificate no good. The text is the TLS library's.
    #[error("certificate is malformed: {0}")]
    Malformed(String),
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        Self::BadIdentity(error)
    }
}

impl Refusal {
    /// A short name for logs and metrics, one per variant, never changed once released.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::SelfSigned => "self_signed",
            Self::ForeignCa => "foreign_ca",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Revoked { .. } => "revoked",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::WrongUsage => "wrong_usage",
            Self::WrongNode { .. } => "wrong_node",
            Self::CrlMissing => "crl_missing",
            Self::CrlStale { .. } => "crl_stale",
            Self::CrlUnusable(_) => "crl_unusable",
            Self::BadIdentity(_) => "bad_identity",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Where the verifier of one handshake leaves its reason for refusing.
///
/// Clones share the slot. Make a fresh one for each handshake: the first reason stays.
#[derive(Debug, Clone, Default)]
pub struct RefusalSlot(Arc<OnceLock<Refusal>>);

impl RefusalSlot {
    /// The reason, once the verifier has refused.
    #[must_use]
    pub fn get(&self) -> Option<Refusal> {
        self.0.get().cloned()
    }

    /// Keeps `refusal` unless one is there already.
    pub(crate) fn record(&self, refusal: Refusal) {
        self.0.get_or_init(|| refusal);
    }
}
