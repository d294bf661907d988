//! Revocation lists: what makes one acceptable, and when it may replace another.

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::moment::from_asn1;

/// Largest accepted revocation list in bytes; about 25 000 revoked certificates.
pub const CRL_SIZE_MAX: usize = 1 << 20;

/// Why a revocation list is refused. What was loaded before stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// The list is larger than [`CRL_SIZE_MAX`].
    #[error("revocation list is {len} bytes long, at most {CRL_SIZE_MAX} are read")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// The bytes are not a revocation list with a number and a date for the next one.
    #[error("not a revocation list with a number and a next-update time")]
    Malformed,
    /// No bundled root signed the list.
    #[error("revocation list is not signed by any CA in ca.crt")]
    ForeignIssuer,
    /// Two lists of the same root.
    #[error("two revocation lists of the same CA")]
    Duplicate,
    /// A root has no list. Its certificates would all be refused.
    #[error("no revocation list of {root}; each CA in ca.crt needs one in ca.crl")]
    Missing {
        /// The root's subject name.
        root: String,
    },
    /// The list is older than the one in force.
    #[error("revocation list has number {offered}, number {loaded} is in force already")]
    NumberFell {
        /// Number of the list in force.
        loaded: u64,
        /// Number of the refused list.
        offered: u64,
    },
    /// The list has the number of the one in force, but other content.
    #[error("revocation list {number} differs from the list in force with the same number")]
    NumberReused {
        /// The number of both.
        number: u64,
    },
}

/// What a revocation list says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrlSummary {
    /// Grows by one with each list of a CA.
    pub number: u64,
    /// When the list was signed.
    pub this_update: UnixTime,
    /// From here on the list is too old to be believed.
    pub next_update: UnixTime,
    /// How many certificates it revokes.
    pub revoked_count: usize,
}

/// A root certificate of the trust bundle.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) der: CertificateDer<'static>,
}

impl Root {
    pub(crate) fn parsed(&self) -> Option<X509Certificate<'_>> {
        let (rest, certificate) = X509Certificate::from_der(&self.der).ok()?;
        (rest.is_empty() && certificate.is_ca()).then_some(certificate)
    }
}

/// A revocation list whose signature has been checked against a bundled root.
#[derive(Debug, Clone)]
pub(crate) struct Crl {
    pub(crate) der: CertificateRevocationListDer<'static>,
    pub(crate) summary: CrlSummary,
    /// The signing root's certificate.
    root: CertificateDer<'static>,
}

impl Crl {
    /// Accepts `der` if one of `roots` signed it.
    pub(crate) fn check(
        der: CertificateRevocationListDer<'static>,
        roots: &[Root],
    ) -> Result<Self, CrlError> {
        if der.len() > CRL_SIZE_MAX {
            return Err(CrlError::TooLarge { len: der.len() });
        }
        let (rest, list) =
            CertificateRevocationList::from_der(&der).map_err(|_detail| CrlError::Malformed)?;
        if !rest.is_empty() {
            return Err(CrlError::Malformed);
        }
        let number = list.crl_number().and_then(|number| u64::try_from(number).ok());
        let (Some(number), Some(next_update)) = (number, list.next_update()) else {
            return Err(CrlError::Malformed);
        };
        let signer = roots.iter().find(|root| signed_by(&list, root));
        let root = signer.ok_or(CrlError::ForeignIssuer)?.der.clone();
        let summary = CrlSummary {
            number,
            this_update: from_asn1(list.last_update()),
            next_update: from_asn1(next_update),
            revoked_count: list.iter_revoked_certificates().count(),
        };
        Ok(Self { der, summary, root })
    }

    pub(crate) fn is_of_same_root(&self, other: &Self) -> bool {
        self.root == other.root
    }

    /// Subject name of the root that signed the list.
    pub(crate) fn root_subject(&self) -> String {
        let root = Root { der: self.root.clone() };
        root.parsed().map(|root| root.subject().to_string()).unwrap_or_default()
    }

    /// Whether this list may take the place of `loaded`, a list of the same root.
    pub(crate) fn may_replace(&self, loaded: &Self) -> Result<(), CrlError> {
        let (offered, loaded_number) = (self.summary.number, loaded.summary.number);
        if offered < loaded_number {
            return Err(CrlError::NumberFell { loaded: loaded_number, offered });
        }
        if offered == loaded_number && self.der != loaded.der {
            return Err(CrlError::NumberReused { number: offered });
        }
        Ok(())
    }
}

fn signed_by(list: &CertificateRevocationList<'_>, root: &Root) -> bool {
    root.parsed().is_some_and(|root| {
        list.issuer().as_raw() == root.subject().as_raw()
            && list.verify_signature(root.public_key()).is_ok()
    })
}

/// Checks a whole bundle: each list signed by a root, and each root with exactly one list.
pub(crate) fn check_bundle(
    roots: &[Root],
    lists: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Vec<Crl>, CrlError> {
    let mut crls: Vec<Crl> = Vec::with_capacity(lists.len());
    for der in lists {
        let crl = Crl::check(der, roots)?;
        if crls.iter().any(|other| other.root == crl.root) {
            return Err(CrlError::Duplicate);
        }
        crls.push(crl);
    }
    for root in roots {
        if !crls.iter().any(|crl| crl.root == root.der) {
            let name = root.parsed().map(|root| root.subject().to_string());
            return Err(CrlError::Missing { root: name.unwrap_or_default() });
        }
    }
    Ok(crls)
}

/// Replaces in `loaded` the lists that `offered` has newer versions of.
pub(crate) fn update_bundle(
    roots: &[Root],
    loaded: &[Crl],
    offered: Vec<CertificateRevocationListDer<'static>>,
) -> Result<Vec<Crl>, CrlError> {
    let mut updated = loaded.to_vec();
    for der in offered {
        let crl = Crl::check(der, roots)?;
        // Every root of a checked bundle has its list, so there is one to replace.
        let slot = updated.iter_mut().find(|old| old.root == crl.root);
        let slot = slot.ok_or(CrlError::ForeignIssuer)?;
        crl.may_replace(slot)?;
        *slot = crl;
    }
    Ok(updated)
}

/// Refuses `new` when it holds an older list than `old` of a root that both know.
pub(crate) fn refuse_older(old: &[Crl], new: &[Crl]) -> Result<(), CrlError> {
    for crl in new {
        if let Some(loaded) = old.iter().find(|old| old.root == crl.root) {
            crl.may_replace(loaded)?;
        }
    }
    Ok(())
}
