//! What is read off a leaf certificate after, or beside, its verification.

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, IdentityError};
use crate::moment::from_asn1;
use crate::serial::Serial;

/// Longest leaf that is read, in bytes. The longest names make one of about 750.
///
/// The reader allocates per name, and reads certificates of peers that proved nothing yet.
pub(crate) const LEAF_LEN_MAX: usize = 1024;

/// The fields of a leaf that decisions and messages need.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) serial: Serial,
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
    /// Subject and issuer are the same name.
    pub(crate) self_issued: bool,
    /// The URI SAN, read.
    pub(crate) identity: Result<Identity, IdentityError>,
    /// Whether the other SANs agree with `identity`.
    pub(crate) names: Result<(), IdentityError>,
}

/// The bytes are not a certificate that our CA could have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Longer than any certificate our CA makes.
    #[error("certificate is {len} bytes long, at most {LEAF_LEN_MAX} are read")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Not an X.509 certificate.
    #[error("not an X.509 certificate")]
    Encoding,
    /// The serial number is not one of ours.
    #[error(transparent)]
    Serial(#[from] crate::serial::SerialError),
}

impl Leaf {
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, LeafError> {
        if der.len() > LEAF_LEN_MAX {
            return Err(LeafError::TooLarge { len: der.len() });
        }
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_detail| LeafError::Encoding)?;
        if !rest.is_empty() {
            return Err(LeafError::Encoding);
        }
        let names = SubjectNames::of(&certificate).ok_or(LeafError::Encoding)?;
        let identity = names.identity();
        let validity = certificate.validity();
        Ok(Self {
            serial: Serial::from_der_integer(certificate.raw_serial())?,
            not_before: from_asn1(validity.not_before),
            not_after: from_asn1(validity.not_after),
            self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            names: identity.as_ref().map_or(Ok(()), |identity| names.agree_with(identity)),
            identity,
        })
    }
}

/// The SANs of a certificate, by kind.
struct SubjectNames {
    uris: Vec<String>,
    dns: Vec<String>,
    others: bool,
}

impl SubjectNames {
    fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let mut names = Self { uris: Vec::new(), dns: Vec::new(), others: false };
        let Some(extension) = certificate.subject_alternative_name().ok()? else {
            return Some(names);
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                _ => names.others = true,
            }
        }
        Some(names)
    }

    fn identity(&self) -> Result<Identity, IdentityError> {
        match self.uris.as_slice() {
            [uri] => Identity::from_uri(uri),
            uris => Err(IdentityError::UriCount { count: uris.len() }),
        }
    }

    fn agree_with(&self, identity: &Identity) -> Result<(), IdentityError> {
        if self.others {
            return Err(IdentityError::ForeignName);
        }
        if self.dns != identity.dns_names() {
            return Err(IdentityError::DnsNames { got: self.dns.clone() });
        }
        Ok(())
    }
}
