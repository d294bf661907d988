//! What is in a certificate file, for people: nothing here decides anything.

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::credentials::{CERT_FILE, LoadError, ROOTS_MAX, items};
use crate::crl::{CrlError, CrlSummary, Root, check_bundle};
use crate::identity::{Identity, IdentityError};
use crate::leaf::{Leaf, LeafError};
use crate::moment::from_asn1;

/// One certificate's content.
#[derive(Debug, Clone)]
pub struct Description {
    /// Subject name.
    pub subject: String,
    /// Issuer name.
    pub issuer: String,
    /// Serial number in hexadecimal digits; not of our form when the certificate is not ours.
    pub serial: String,
    /// First moment of its life.
    pub not_before: UnixTime,
    /// Last moment of its life.
    pub not_after: UnixTime,
    /// Whether it may issue others.
    pub is_ca: bool,
    /// Who it is for; of a CA this is an error.
    pub identity: Result<Identity, IdentityError>,
}

/// Describes one certificate.
///
/// # Errors
/// The bytes are not a certificate.
pub fn describe(der: &CertificateDer<'_>) -> Result<Description, LeafError> {
    let (_rest, certificate) =
        X509Certificate::from_der(der).map_err(|_detail| LeafError::Encoding)?;
    let identity = match Leaf::parse(der) {
        Ok(leaf) => leaf.identity,
        // A serial number of another form: not ours, so there is no identity in it.
        Err(_foreign) => Err(IdentityError::UriCount { count: 0 }),
    };
    Ok(Description {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: from_asn1(certificate.validity().not_before),
        not_after: from_asn1(certificate.validity().not_after),
        is_ca: certificate.is_ca(),
        identity,
    })
}

/// Decodes the certificates in a PEM file, 1 to [`ROOTS_MAX`].
///
/// # Errors
/// Not PEM, or too many or no certificates.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    items(CERT_FILE, pem, ROOTS_MAX)
}

/// Describes revocation lists, and checks that `roots` signed them, one each.
///
/// # Errors
/// A list is damaged, foreign, doubled or missing.
pub fn revocation_lists(
    roots: &[CertificateDer<'static>],
    lists: Vec<rustls_pki_types::CertificateRevocationListDer<'static>>,
) -> Result<Vec<CrlSummary>, CrlError> {
    let roots: Vec<Root> = roots.iter().map(|der| Root { der: der.clone() }).collect();
    Ok(check_bundle(&roots, lists)?.into_iter().map(|crl| crl.summary).collect())
}
