//! Why a CA refuses.

use rustls_pki_types::UnixTime;

use crate::crl::CrlError;
use crate::files::FileError;
use crate::identity::{ClusterName, Kind, NodeName};
use crate::moment::text;
use crate::serial::Serial;

/// Why the CA did not do what it was asked. Nothing was issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of the CA can't be read or written, or exists already.
    #[error(transparent)]
    File(#[from] FileError),
    /// The CA directory's files are damaged or don't belong together.
    #[error("CA directory is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// `issued.toml` can't be read.
    #[error("issued.toml can't be read")]
    Record(#[from] toml::de::Error),
    /// `issued.toml` can't be written. Fault: ours.
    #[error("issued.toml can't be encoded")]
    RecordEncoding(#[from] toml::ser::Error),
    /// Another command is at work in the CA directory.
    #[error("the CA directory is in use by another command; wait for it to end")]
    Busy,
    /// The identity belongs to another cluster.
    #[error("this is the CA of cluster {expected}, it issues nothing for cluster {got}")]
    OtherCluster {
        /// The CA's cluster.
        expected: ClusterName,
        /// The identity's cluster.
        got: ClusterName,
    },
    /// Roles were asked for a tool.
    #[error("a tool holds no roles; leave --roles out")]
    ToolWithRoles,
    /// The life asked for is shorter than a second.
    #[error("a certificate has to be valid for at least one second")]
    NoValidity,
    /// The life asked for ends past the year 9999.
    #[error("a certificate can't be valid past the year 9999")]
    DateRange,
    /// The leaf would outlive its CA.
    #[error("the CA itself expires at {}; ask for a shorter life or make a new CA", text(*ca))]
    OutlivesCa {
        /// Last moment of the CA's life.
        ca: UnixTime,
    },
    /// The signing request's key is not ECDSA P-256.
    #[error("the request's key is not ECDSA P-256; make it with `vioduct cert request`")]
    RequestKey,
    /// Nothing that is still valid has this name.
    #[error("no valid certificate of {kind} {name} is on record; see `vioduct ca show`")]
    UnknownName {
        /// Node or tool.
        kind: Kind,
        /// The name asked for.
        name: NodeName,
    },
    /// No certificate that is still valid and not revoked has this serial.
    #[error("no valid certificate with serial {serial} is on record; see `vioduct ca show`")]
    UnknownSerial {
        /// The serial asked for.
        serial: Serial,
    },
    /// The CA's own revocation list is unusable.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// The certificate library refused, for instance a signing request with a bad signature.
    #[error("certificate or request refused")]
    Library(#[from] rcgen::Error),
    /// The system gave no random bytes.
    #[error("no random bytes to be had")]
    Random,
}
