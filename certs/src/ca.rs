//! The cluster's certificate authority.
//!
//! It lives on a host of its own, or in memory for tests. What it issues follows
//! the table in `profile.rs` and nothing that a requester wishes for.

use std::fmt;
use std::time::Duration;

use rcgen::{
    CertificateSigningRequestParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use zeroize::Zeroizing;

use crate::crl::{Crl, CrlSummary, Root};
use crate::identity::{ClusterName, Identity, Kind, NodeName};
use crate::moment::{DAY, between, from_asn1};
use crate::profile::{LeafProfile, Lifetime, root_params};
use crate::provider::random;
use crate::record::{IssuedEntry, Record};
use crate::serial::Serial;
use crate::trust::permitted_suffix;

mod error;
mod signing;

pub use error::CaError;
use signing::sign_crl;

/// Life of a CA unless asked otherwise: ten years.
pub const CA_VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
/// Life of a leaf unless asked otherwise: seven days.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(7 * 86_400);
/// How long a revocation list is believed, in days, unless asked otherwise.
pub const CRL_LIFE_DAYS: u16 = 30;

/// A certificate, and what its holder needs besides.
pub struct IssuedBundle {
    /// Who the certificate is for.
    pub identity: Identity,
    /// Its serial number.
    pub serial: Serial,
    /// Last moment of its life.
    pub not_after: UnixTime,
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The private key, PEM. `None` when the holder made it and kept it.
    pub key_pem: Option<Zeroizing<String>>,
    /// The trusted roots, PEM.
    pub roots_pem: String,
    /// The revocation list, PEM.
    pub crl_pem: String,
}

impl fmt::Debug for IssuedBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedBundle")
            .field("identity", &self.identity)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// A certificate authority of one cluster.
pub struct ClusterCa {
    root_der: CertificateDer<'static>,
    not_after: UnixTime,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root_pem: String,
    pub(crate) record: Record,
    pub(crate) crl_pem: String,
    crl: CrlSummary,
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCa")
            .field("cluster", &self.record.cluster)
            .field("crl", &self.crl)
            .finish_non_exhaustive()
    }
}

impl ClusterCa {
    /// Makes a CA with a new key and an empty revocation list. Nothing is written.
    ///
    /// # Errors
    /// `validity` is out of range, or there is no randomness.
    pub fn create(
        cluster: ClusterName,
        validity: Duration,
        now: UnixTime,
    ) -> Result<Self, CaError> {
        Self::create_with(cluster, validity, CRL_LIFE_DAYS, now)
    }

    /// As [`ClusterCa::create`], with revocation lists believed for `crl_life_days`, at least 1.
    ///
    /// # Errors
    /// As [`ClusterCa::create`].
    pub fn create_with(
        cluster: ClusterName,
        validity: Duration,
        crl_life_days: u16,
        now: UnixTime,
    ) -> Result<Self, CaError> {
        if crl_life_days == 0 {
            return Err(CaError::NoValidity);
        }
        let lifetime = Lifetime::from_now(validity, now)?;
        let tag = random().map_err(|_source| CaError::Random)?;
        let params = root_params(&cluster, tag, fresh_serial()?, lifetime)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let mut record = Record::new(cluster, crl_life_days);
        let (crl_pem, crl) = sign_crl(&issuer, &mut record, now)?;
        Ok(Self {
            root_der: root.der().clone(),
            not_after: lifetime.not_after,
            issuer,
            root_pem: root.pem(),
            record,
            crl_pem,
            crl,
        })
    }

    /// Puts a CA together from its files' contents.
    pub(crate) fn from_pem(
        root_pem: String,
        key_pem: &str,
        record: Record,
        crl_pem: String,
    ) -> Result<Self, CaError> {
        let damaged = |what| CaError::Damaged { what };
        let key = KeyPair::from_pem(key_pem)?;
        let root_der = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|_detail| damaged("ca.crt is not a PEM certificate"))?;
        let root = Root { der: root_der.clone() };
        let parsed = root.parsed().ok_or_else(|| damaged("ca.crt is not a CA certificate"))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(damaged("ca.key does not belong to ca.crt"));
        }
        let suffix = record.cluster.dns_suffix();
        if permitted_suffix(&parsed) != Some(suffix.as_str()) {
            return Err(damaged("issued.toml names another cluster than ca.crt"));
        }
        let not_after = from_asn1(parsed.validity().not_after);
        let crl = CertificateRevocationListDer::from_pem_slice(crl_pem.as_bytes())
            .map_err(|_detail| damaged("ca.crl is not a PEM revocation list"))?;
        let crl = Crl::check(crl, std::slice::from_ref(&root))?.summary;
        let issuer = Issuer::from_ca_cert_der(&root_der, key)?;
        Ok(Self { root_der, not_after, issuer, root_pem, record, crl_pem, crl })
    }

    /// The CA's cluster.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.record.cluster
    }

    /// Last moment of the CA's own life.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The root certificate.
    #[must_use]
    pub const fn root(&self) -> &CertificateDer<'static> {
        &self.root_der
    }

    /// The root certificate, PEM: the content of a host's `ca.crt`.
    #[must_use]
    pub fn roots_pem(&self) -> &str {
        &self.root_pem
    }

    /// The newest revocation list, PEM: the content of a host's `ca.crl`.
    #[must_use]
    pub fn crl_pem(&self) -> &str {
        &self.crl_pem
    }

    /// What the newest revocation list says of itself.
    #[must_use]
    pub const fn crl(&self) -> CrlSummary {
        self.crl
    }

    /// Every certificate on record, oldest first.
    #[must_use]
    pub fn issued(&self) -> &[IssuedEntry] {
        &self.record.issued
    }

    /// The private key, PEM.
    pub(crate) fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Issues a certificate and its key.
    ///
    /// Save the CA before handing the bundle on, so that no certificate is out of its record.
    ///
    /// # Errors
    /// The identity is of another cluster, or the life asked for is out of range.
    pub fn issue(
        &mut self,
        identity: &Identity,
        validity: Duration,
        now: UnixTime,
    ) -> Result<IssuedBundle, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut bundle = self.certify(identity, &key, validity, now)?;
        bundle.key_pem = Some(Zeroizing::new(key.serialize_pem()));
        Ok(bundle)
    }

    /// Issues a certificate for the public key in a signing request.
    ///
    /// Everything else in the request is ignored.
    ///
    /// # Errors
    /// As [`ClusterCa::issue`]; also when the request is damaged, asks for extensions nobody knows,
    /// is not signed by its own key, or its key is not ECDSA P-256.
    pub fn sign_csr(
        &mut self,
        csr_pem: &str,
        identity: &Identity,
        validity: Duration,
        now: UnixTime,
    ) -> Result<IssuedBundle, CaError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem)?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(CaError::RequestKey);
        }
        self.certify(identity, &request.public_key, validity, now)
    }

    fn certify(
        &mut self,
        identity: &Identity,
        key: &impl PublicKeyData,
        validity: Duration,
        now: UnixTime,
    ) -> Result<IssuedBundle, CaError> {
        if &identity.cluster != self.cluster() {
            return Err(CaError::OtherCluster {
                expected: self.cluster().clone(),
                got: identity.cluster.clone(),
            });
        }
        if identity.kind == Kind::Tool && !identity.roles.is_empty() {
            return Err(CaError::ToolWithRoles);
        }
        let lifetime = Lifetime::from_now(validity, now)?;
        if lifetime.not_after > self.not_after {
            return Err(CaError::OutlivesCa { ca: self.not_after });
        }
        let profile = LeafProfile::of(identity, fresh_serial()?, lifetime);
        let cert_pem = self.sign_leaf(&profile, key)?.pem();
        self.refresh_crl(now)?;
        self.record.add(identity, profile.serial, lifetime.not_after);
        Ok(IssuedBundle {
            identity: identity.clone(),
            serial: profile.serial,
            not_after: lifetime.not_after,
            cert_pem,
            key_pem: None,
            roots_pem: self.root_pem.clone(),
            crl_pem: self.crl_pem.clone(),
        })
    }

    pub(crate) fn sign_leaf(
        &self,
        profile: &LeafProfile,
        key: &impl PublicKeyData,
    ) -> Result<rcgen::Certificate, CaError> {
        Ok(profile.params()?.signed_by(key, &self.issuer)?)
    }

    /// Revokes one certificate and signs a new revocation list.
    ///
    /// # Errors
    /// No valid certificate with this serial is on record.
    pub fn revoke(&mut self, serial: &Serial, now: UnixTime) -> Result<(), CaError> {
        if self.record.revoke(now, |entry| &entry.serial == serial).is_empty() {
            return Err(CaError::UnknownSerial { serial: *serial });
        }
        self.renew_crl(now)
    }

    /// Revokes every valid certificate of a node or tool; returns their serials.
    ///
    /// # Errors
    /// No valid certificate of this name is on record.
    pub fn revoke_name(
        &mut self,
        kind: Kind,
        name: &NodeName,
        now: UnixTime,
    ) -> Result<Vec<Serial>, CaError> {
        let revoked = self.record.revoke(now, |entry| entry.kind == kind && &entry.name == name);
        if revoked.is_empty() {
            return Err(CaError::UnknownName { kind, name: name.clone() });
        }
        self.renew_crl(now)?;
        Ok(revoked)
    }

    /// Signs a new revocation list with the next number.
    ///
    /// # Errors
    /// The list would be larger than nodes accept, or the library refuses.
    pub fn renew_crl(&mut self, now: UnixTime) -> Result<(), CaError> {
        (self.crl_pem, self.crl) = sign_crl(&self.issuer, &mut self.record, now)?;
        Ok(())
    }

    /// Signs a new revocation list if the newest lacks what is on record, or has lived for half of
    /// its time: who issues now and then never hands out a stale one.
    fn refresh_crl(&mut self, now: UnixTime) -> Result<(), CaError> {
        let life = DAY * u32::from(self.record.crl_life_days);
        let is_old = between(now, self.crl.next_update) < life / 2;
        // The numbers differ when a command died between writing its record and its list.
        if is_old || self.crl.number != self.record.crl_number {
            self.renew_crl(now)?;
        }
        Ok(())
    }
}

fn fresh_serial() -> Result<Serial, CaError> {
    random().map(Serial::from_random).map_err(|_source| CaError::Random)
}
