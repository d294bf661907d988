//! What a host trusts, as two files: the roots, and one revocation list for each of them.
//!
//! While a CA is replaced, hosts trust two: the old one's certificates and the new one's are in use
//! side by side. [`TrustFiles::join`] makes the files for that time.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::credentials::{LoadError, ROOTS_FILE, ROOTS_MAX, items};
use crate::crl::{Crl, CrlError, CrlSummary, Root, check_bundle};
use crate::moment::text;

/// PEM label of a certificate.
pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
/// PEM label of a revocation list.
pub(crate) const REVOCATION_LIST: &str = "X509 CRL";

/// Why the files of several CAs can't be put together. Fault: the operator.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file is not PEM of its kind, or holds too many items.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A root without a revocation list, a list without its root, or two that contradict.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// The roots are not CAs of one cluster.
    #[error("{one} and {other} are not CAs of the same cluster")]
    OtherCluster {
        /// Subject of the first root.
        one: String,
        /// Subject of the one that differs.
        other: String,
    },
    /// Whoever installs the list refuses everybody below its root.
    #[error(
        "the revocation list of {root} was to be replaced by {}; \
         run `vioduct ca crl` on that CA first",
        text(*next_update)
    )]
    Stale {
        /// Subject of the root.
        root: String,
        /// When the list became too old.
        next_update: UnixTime,
    },
}

/// The content of `ca.crt` and `ca.crl`, PEM, as read from one place.
#[derive(Debug, Clone, Copy)]
pub struct TrustSource<'a> {
    /// The roots.
    pub roots: &'a [u8],
    /// The revocation lists.
    pub crls: &'a [u8],
}

/// One root that is trusted, for people.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    /// Its subject name.
    pub subject: String,
    /// Its revocation list.
    pub crl: CrlSummary,
}

/// Roots of one cluster and one revocation list for each, checked together.
#[derive(Debug, Clone)]
pub struct TrustFiles {
    /// Content of `ca.crt`.
    pub roots_pem: String,
    /// Content of `ca.crl`.
    pub crls_pem: String,
    /// What is in them, in their order.
    pub roots: Vec<TrustedRoot>,
}

impl TrustFiles {
    /// Puts the roots of all sources together, each once, with the newest revocation list of each.
    ///
    /// # Errors
    /// The roots are of different clusters, or more than [`ROOTS_MAX`]; a root has no revocation
    /// list, or one that is too old at `now`.
    pub fn join(sources: &[TrustSource<'_>], now: UnixTime) -> Result<Self, TrustError> {
        let mut roots: Vec<Root> = Vec::new();
        let mut roots_pem = String::new();
        for source in sources {
            for pem in blocks(source.roots, CERTIFICATE) {
                let mut decoded = items(ROOTS_FILE, pem.as_bytes(), 1)?;
                decoded.retain(|der| !roots.iter().any(|root| root.der == *der));
                if let Some(der) = decoded.pop() {
                    roots.push(Root { der });
                    roots_pem.push_str(&pem);
                }
            }
        }
        if roots.is_empty() || roots.len() > ROOTS_MAX {
            let count = roots.len();
            let error = LoadError::ItemCount { file: ROOTS_FILE, count, min: 1, max: ROOTS_MAX };
            return Err(error.into());
        }
        require_one_cluster(&roots)?;

        let mut newest: Vec<(Crl, String)> = Vec::new();
        for pem in sources.iter().flat_map(|source| blocks(source.crls, REVOCATION_LIST)) {
            let crl = checked_list(&pem, &roots)?;
            match newest.iter_mut().find(|(held, _pem)| held.is_of_same_root(&crl)) {
                Some(held) if crl.summary.number >= held.0.summary.number => {
                    crl.may_replace(&held.0)?;
                    *held = (crl, pem);
                }
                Some(_newer) => {}
                None => newest.push((crl, pem)),
            }
        }
        let crls =
            check_bundle(&roots, newest.iter().map(|(crl, _pem)| crl.der.clone()).collect())?;
        let mut trusted = Vec::with_capacity(crls.len());
        for crl in crls {
            let (root, summary) = (crl.root_subject(), crl.summary);
            if summary.next_update <= now {
                return Err(TrustError::Stale { root, next_update: summary.next_update });
            }
            trusted.push(TrustedRoot { subject: root, crl: summary });
        }
        let crls_pem = newest.into_iter().map(|(_crl, pem)| pem).collect();
        Ok(Self { roots_pem, crls_pem, roots: trusted })
    }
}

/// The revocation lists to keep beside `roots`: those `offered`, and the `installed` ones of roots
/// that none is offered for. What is installed for a root that is no longer trusted goes.
///
/// Nothing is judged here: whoever loads the result does.
pub(crate) fn lists_to_keep(roots: &[u8], offered: &[u8], installed: &[u8]) -> Vec<u8> {
    let roots: Vec<Root> =
        CertificateDer::pem_slice_iter(roots).flatten().map(|der| Root { der }).collect();
    let of_ours = |pem: &String| checked_list(pem, &roots).ok();
    let replaced: Vec<Crl> = blocks(offered, REVOCATION_LIST).iter().filter_map(of_ours).collect();
    let mut kept = offered.to_vec();
    for pem in blocks(installed, REVOCATION_LIST) {
        let Some(held) = of_ours(&pem) else { continue };
        if replaced.iter().any(|crl| crl.is_of_same_root(&held)) {
            continue;
        }
        if kept.last().is_some_and(|byte| *byte != b'\n') {
            kept.push(b'\n');
        }
        kept.extend_from_slice(pem.as_bytes());
    }
    kept
}

fn checked_list(pem: &str, roots: &[Root]) -> Result<Crl, CrlError> {
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes())
        .map_err(|_detail| CrlError::Malformed)?;
    Crl::check(der, roots)
}

/// The items with this label in a PEM text, each with its two border lines. Other text is left out.
pub(crate) fn blocks(pem: &[u8], label: &str) -> Vec<String> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in String::from_utf8_lossy(pem).lines() {
        let line = line.trim_end();
        if line == begin {
            open = Some(String::new());
        }
        let Some(block) = open.as_mut() else { continue };
        block.push_str(line);
        block.push('\n');
        if line == end {
            found.extend(open.take());
        }
    }
    found
}

/// The DNS suffix that a root may issue for; each cluster has its own.
pub(crate) fn permitted_suffix<'a>(root: &'a X509Certificate<'_>) -> Option<&'a str> {
    let constraints = root.name_constraints().ok()??;
    let permitted = constraints.value.permitted_subtrees.as_deref().unwrap_or_default();
    match permitted {
        [one] => match one.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

fn require_one_cluster(roots: &[Root]) -> Result<(), TrustError> {
    let mut first: Option<(String, String)> = None;
    for root in roots {
        let damaged = || LoadError::Root(rustls::CertificateError::BadEncoding.into());
        let parsed = root.parsed().ok_or_else(damaged)?;
        let subject = parsed.subject().to_string();
        // A root of another program may lack the constraint; it is no CA of any cluster.
        let suffix = permitted_suffix(&parsed).unwrap_or_default().to_owned();
        match &first {
            None => first = Some((subject, suffix)),
            Some((one, expected)) if *expected != suffix => {
                return Err(TrustError::OtherCluster { one: one.clone(), other: subject });
            }
            Some(_same) => {}
        }
    }
    Ok(())
}
