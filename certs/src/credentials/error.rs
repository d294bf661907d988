//! Why credentials, or TLS made of them, are refused.

use rustls::server::VerifierBuilderError;
use rustls_pki_types::pem;

use super::parts::{CERT_FILE, CRL_FILE, KEY_FILE, ROOTS_FILE};
use crate::crl::CrlError;
use crate::files::FileError;
use crate::identity::{Identity, IdentityError};
use crate::leaf::LeafError;
use crate::refusal::Refusal;

/// Why credentials were not accepted. Those loaded before stay in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file can't be read, is too large, or is a key that others may read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no PEM of the needed kind, or damaged PEM.
    #[error("{file} is not the PEM file it should be")]
    Pem {
        /// The file's name in the certificate directory.
        file: &'static str,
        /// What the parser said.
        #[source]
        source: pem::Error,
    },
    /// A file holds another number of items than it should.
    #[error("{file} holds {count} items, allowed are {min} to {max}")]
    ItemCount {
        /// The file's name in the certificate directory.
        file: &'static str,
        /// How many were found.
        count: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// The leaf is not a certificate of our kind.
    #[error("{CERT_FILE}: {0}")]
    Leaf(LeafError),
    /// The leaf names no identity.
    #[error("{CERT_FILE}: {0}")]
    Identity(IdentityError),
    /// The private key is unusable, or does not belong to the leaf.
    #[error("{KEY_FILE} does not fit {CERT_FILE}")]
    Key(#[source] rustls::Error),
    /// A certificate in the bundle can't be a root.
    #[error("{ROOTS_FILE} holds a certificate that is not a usable CA")]
    Root(#[source] rustls::Error),
    /// Roots and revocation lists can't be used together.
    #[error("{ROOTS_FILE} and {CRL_FILE} can't be used")]
    Trust(#[source] VerifierBuilderError),
    /// A revocation list is missing, unsigned, too large or older than the loaded one.
    #[error("{CRL_FILE}: {0}")]
    Crl(CrlError),
    /// The certificate is no longer that of the node it was.
    #[error("{CERT_FILE} is now for {found}, was for {loaded}; restart to change the holder")]
    HolderChanged {
        /// The holder whose certificate is in force.
        loaded: Box<Identity>,
        /// The holder found in the file.
        found: Box<Identity>,
    },
    /// Peers would refuse the leaf, for this reason.
    #[error("own certificate: {0}")]
    OwnCertificate(Refusal),
}

// These messages hold their cause, so it is not reported as a source a second time.
impl From<LeafError> for LoadError {
    fn from(error: LeafError) -> Self {
        Self::Leaf(error)
    }
}

impl From<IdentityError> for LoadError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

impl From<CrlError> for LoadError {
    fn from(error: CrlError) -> Self {
        Self::Crl(error)
    }
}

/// Why no TLS configuration could be made of the credentials.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The TLS library refused. Fault: ours.
    #[error("TLS configuration refused")]
    Config(#[from] rustls::Error),
    /// A tool tried to accept links.
    #[error("a tool's certificate can't accept links, only dial them")]
    ToolAsServer,
}
