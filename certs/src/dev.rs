//! A certificate authority in memory, for examples and tests.
//!
//! It also makes certificates that no honest CA would, to show that they are refused. Nothing here
//! touches a disk, and nothing here belongs into a cluster that anyone relies on.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime,
};

use crate::ca::{CA_VALIDITY, CaError, ClusterCa, LEAF_VALIDITY};
use crate::credentials::{Credentials, LoadError, Parts, TlsError, crls_from_pem, hardened};
use crate::identity::{Identity, NameError, Roles};
use crate::profile::{LeafProfile, Lifetime};
use crate::provider::{provider, random, with_groups};
use crate::refusal::RefusalSlot;
use crate::serial::Serial;

/// Why the development CA did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A text is no cluster or node name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The CA refused.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The credentials could not be put together.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No TLS configuration could be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What is wrong with a forged certificate. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Forgery {
    /// First moment of life, instead of five minutes ago.
    pub not_before: Option<UnixTime>,
    /// Last moment of life, instead of in seven days.
    pub not_after: Option<UnixTime>,
    /// URI SAN, instead of the identity's.
    pub uri: Option<String>,
    /// DNS SANs, instead of the identity's.
    pub dns_names: Option<Vec<String>>,
    /// Extended key usages, instead of those of the identity's kind.
    pub usages: Option<ForgedUsage>,
    /// Signed by its own key instead of the CA's.
    pub self_signed: bool,
}

/// Extended key usages of a forged certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgedUsage {
    /// Only serverAuth.
    Server,
    /// Only clientAuth.
    Client,
    /// Only codeSigning, which neither side of a link accepts.
    CodeSigning,
}

impl ForgedUsage {
    const fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Self::CodeSigning => ExtendedKeyUsagePurpose::CodeSigning,
        }
    }
}

/// A cluster CA in memory.
#[derive(Debug)]
pub struct DevCa {
    ca: ClusterCa,
    now: UnixTime,
    leaf_validity: Duration,
}

impl DevCa {
    /// A new CA whose clock stands at `now` until [`DevCa::set_now`].
    ///
    /// # Errors
    /// `cluster` is not a name.
    pub fn new(cluster: &str, now: UnixTime) -> Result<Self, DevError> {
        let ca = ClusterCa::create(cluster.parse()?, CA_VALIDITY, now)?;
        Ok(Self { ca, now, leaf_validity: LEAF_VALIDITY })
    }

    /// Sets the time at which it issues and revokes from now on.
    pub const fn set_now(&mut self, now: UnixTime) {
        self.now = now;
    }

    /// Sets the life of the leaves it issues from now on; seven days before.
    pub const fn set_leaf_validity(&mut self, validity: Duration) {
        self.leaf_validity = validity;
    }

    /// The CA itself, for what needs files.
    pub const fn ca(&mut self) -> &mut ClusterCa {
        &mut self.ca
    }

    /// Credentials of a node. A second call with the same name is a rotation: a new key and
    /// serial, and the old certificate stays valid.
    ///
    /// # Errors
    /// `name` is not a name.
    pub fn node(&mut self, name: &str, roles: Roles) -> Result<Credentials, DevError> {
        let identity = Identity::node(self.ca.cluster().clone(), name.parse()?, roles);
        self.issue(&identity)
    }

    /// Credentials of a tool.
    ///
    /// # Errors
    /// `name` is not a name.
    pub fn tool(&mut self, name: &str) -> Result<Credentials, DevError> {
        let identity = Identity::tool(self.ca.cluster().clone(), name.parse()?);
        self.issue(&identity)
    }

    /// New credentials, with a new key and serial and today's revocation list, for the same holder.
    ///
    /// # Errors
    /// The credentials are of another cluster.
    pub fn reissue(&mut self, credentials: &Credentials) -> Result<Credentials, DevError> {
        let identity = credentials.identity().clone();
        self.issue(&identity)
    }

    fn issue(&mut self, identity: &Identity) -> Result<Credentials, DevError> {
        let bundle = self.ca.issue(identity, self.leaf_validity, self.now)?;
        let key = bundle.key_pem.as_ref().map(|pem| pem.as_bytes()).unwrap_or_default();
        let parts = Parts::from_pem(
            bundle.cert_pem.as_bytes(),
            key,
            bundle.roots_pem.as_bytes(),
            bundle.crl_pem.as_bytes(),
        )?;
        Ok(Credentials::from_parts(parts, self.now)?)
    }

    /// Revokes a certificate; [`DevCa::crls`] then names it.
    ///
    /// # Errors
    /// The serial is unknown, or revoked already.
    pub fn revoke(&mut self, serial: &Serial) -> Result<(), DevError> {
        Ok(self.ca.revoke(serial, self.now)?)
    }

    /// Signs a new revocation list without a change, with the next number.
    ///
    /// # Errors
    /// The library refuses.
    pub fn renew_crl(&mut self) -> Result<(), DevError> {
        Ok(self.ca.renew_crl(self.now)?)
    }

    /// Today's revocation list, for [`Credentials::with_crls`].
    ///
    /// # Errors
    /// Never in practice: the list is our own.
    pub fn crls(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, DevError> {
        Ok(crls_from_pem(self.ca.crl_pem().as_bytes())?)
    }

    /// Credentials with a certificate that is wrong in the ways `forgery` names.
    ///
    /// They trust this CA as honest ones do, so that a handshake gets as far as the forged side
    /// showing its certificate.
    ///
    /// # Errors
    /// The forged fields can't be encoded.
    pub fn forge(&self, identity: &Identity, forgery: &Forgery) -> Result<Credentials, DevError> {
        let mut lifetime = Lifetime::from_now(self.leaf_validity, self.now)?;
        lifetime.not_before = forgery.not_before.unwrap_or(lifetime.not_before);
        lifetime.not_after = forgery.not_after.unwrap_or(lifetime.not_after);
        let serial = Serial::from_random(random().map_err(|_source| CaError::Random)?);
        let mut profile = LeafProfile::of(identity, serial, lifetime);
        if let Some(uri) = &forgery.uri {
            profile.uri.clone_from(uri);
        }
        if let Some(names) = &forgery.dns_names {
            profile.dns_names.clone_from(names);
        }
        if let Some(usage) = forgery.usages {
            profile.usages = vec![usage.purpose()];
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::from)?;
        let leaf = if forgery.self_signed {
            profile.params()?.self_signed(&key).map_err(CaError::from)?
        } else {
            self.ca.sign_leaf(&profile, &key)?
        };
        self.disguise(leaf.der().clone(), &key.serialize_der(), identity)
    }

    /// A certificate of `stranger`, another CA, in the hands of someone who trusts this one.
    ///
    /// # Errors
    /// `stranger` refuses the identity.
    pub fn infiltrate(
        &self,
        stranger: &mut Self,
        identity: &Identity,
    ) -> Result<Credentials, DevError> {
        let bundle = stranger.ca.issue(identity, stranger.leaf_validity, stranger.now)?;
        let leaf = CertificateDer::from_pem_slice(bundle.cert_pem.as_bytes());
        let leaf = leaf.map_err(|_pem| CaError::Damaged { what: "own certificate" })?;
        let pem = bundle.key_pem.unwrap_or_default();
        let key = KeyPair::from_pem(&pem).map_err(CaError::from)?;
        self.disguise(leaf, &key.serialize_der(), identity)
    }

    fn disguise(
        &self,
        leaf: CertificateDer<'static>,
        key_der: &[u8],
        identity: &Identity,
    ) -> Result<Credentials, DevError> {
        let parts = Parts {
            leaf,
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_der.to_vec())),
            roots: vec![self.ca.root().clone()],
            crls: self.crls()?,
        };
        Ok(Credentials::assemble(parts, identity.clone(), self.ca.cluster().clone())?)
    }
}

/// A dialler that checks its peer but shows no certificate.
///
/// # Errors
/// The TLS library refuses.
pub fn client_config_without_certificate(
    credentials: &Credentials,
    alpn: &[&[u8]],
    clock: Arc<dyn TimeProvider>,
    refusal: RefusalSlot,
) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(credentials.verifier(refusal))
        .with_no_client_auth();
    Ok(hardened(config, alpn))
}

/// A dialler that knows no key exchange but X25519, as one older than the hybrid would.
///
/// # Errors
/// The TLS library refuses.
pub fn client_config_without_hybrid(
    credentials: &Credentials,
    alpn: &[&[u8]],
    clock: Arc<dyn TimeProvider>,
    refusal: RefusalSlot,
) -> Result<ClientConfig, TlsError> {
    credentials.client_config_with(with_groups(vec![kx_group::X25519]), alpn, clock, refusal)
}
