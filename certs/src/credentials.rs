//! What one node presents and trusts, loaded and checked together.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};

use crate::crl::{self, CrlSummary, Root};
use crate::identity::{ClusterName, Identity, Kind};
use crate::leaf::Leaf;
use crate::provider::provider;
use crate::refusal::{Refusal, RefusalSlot};
use crate::serial::Serial;
use crate::verify::{PeerVerifier, Trust};

mod error;
mod parts;

pub use error::{LoadError, TlsError};
pub(crate) use parts::items;
pub use parts::{CERT_FILE, CRL_FILE, KEY_FILE, Parts, ROOTS_FILE, ROOTS_MAX, crls_from_pem};

/// Who a peer proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The identity in the peer's certificate.
    pub identity: Identity,
    /// The certificate's serial number.
    pub serial: Serial,
    /// When the certificate expires: the link has to be replaced before.
    pub not_after: UnixTime,
}

/// One node's certificate with its key, and the roots and revocation lists it judges peers by.
///
/// Immutable, and cheap to clone. A changed file becomes a new value: swap it in, make the next
/// handshakes with it, and [verify](Credentials::verify_peer) the live links again.
#[derive(Debug, Clone)]
pub struct Credentials {
    identity: Identity,
    serial: Serial,
    not_before: UnixTime,
    not_after: UnixTime,
    leaf: CertificateDer<'static>,
    resolver: Arc<SingleCertAndKey>,
    trust: Arc<Trust>,
}

impl Credentials {
    /// Reads and checks `node.crt`, `node.key`, `ca.crt` and `ca.crl` in `dir`.
    ///
    /// # Errors
    /// A file is missing, malformed or does not fit the others; the key's mode is wider than 0600;
    /// or peers would refuse the certificate at `now`.
    pub fn load(dir: &Path, now: UnixTime) -> Result<Self, LoadError> {
        Self::from_parts(Parts::read(dir)?, now)
    }

    /// Checks credentials that are in memory already.
    ///
    /// # Errors
    /// As [`Credentials::load`], less the files.
    pub fn from_parts(parts: Parts, now: UnixTime) -> Result<Self, LoadError> {
        let credentials = Self::unchecked(parts)?;
        credentials.check_own(now).map_err(LoadError::OwnCertificate)?;
        Ok(credentials)
    }

    /// Reads `dir` again.
    ///
    /// # Errors
    /// As [`Credentials::load`]; also when a revocation list is older than the one held here, or
    /// the certificate is for another holder. Roles may change.
    pub fn reload(&self, dir: &Path, now: UnixTime) -> Result<Self, LoadError> {
        let fresh = Self::load(dir, now)?;
        if !self.identity.is_same_holder(&fresh.identity) {
            return Err(LoadError::HolderChanged {
                loaded: Box::new(self.identity.clone()),
                found: Box::new(fresh.identity),
            });
        }
        fresh.refuse_older_crls(self)?;
        Ok(fresh)
    }

    /// Credentials that peers may well refuse, to compare or show.
    pub(crate) fn unchecked(parts: Parts) -> Result<Self, LoadError> {
        let identity = Leaf::parse(&parts.leaf)?.identity?;
        let cluster = identity.cluster.clone();
        Self::assemble(parts, identity, cluster)
    }

    /// Refuses when a revocation list here is older than the one in `loaded`.
    pub(crate) fn refuse_older_crls(&self, loaded: &Self) -> Result<(), LoadError> {
        Ok(crl::refuse_older(&loaded.trust.crls, &self.trust.crls)?)
    }

    /// The same credentials under newer revocation lists.
    ///
    /// Lists of roots that `crls` does not mention stay. This certificate itself may be among the
    /// revoked: [`Credentials::check_own`] tells.
    ///
    /// # Errors
    /// A list is too large, not signed by a bundled root, or has a lower number than the one held.
    pub fn with_crls(
        &self,
        crls: Vec<CertificateRevocationListDer<'static>>,
    ) -> Result<Self, LoadError> {
        let updated = crl::update_bundle(&self.trust.roots, &self.trust.crls, crls)?;
        let trust = Trust::new(self.trust.cluster.clone(), self.trust.roots.clone(), updated)?;
        Ok(Self { trust: Arc::new(trust), ..self.clone() })
    }

    /// Puts the parts together without asking whether peers would accept the leaf.
    pub(crate) fn assemble(
        parts: Parts,
        identity: Identity,
        cluster: ClusterName,
    ) -> Result<Self, LoadError> {
        let leaf = Leaf::parse(&parts.leaf)?;
        let key = CertifiedKey::from_der(vec![parts.leaf.clone()], parts.key, &provider())
            .map_err(LoadError::Key)?;
        let roots: Vec<Root> = parts.roots.into_iter().map(|der| Root { der }).collect();
        if roots.iter().any(|root| root.parsed().is_none()) {
            return Err(LoadError::Root(rustls::CertificateError::BadEncoding.into()));
        }
        let crls = crl::check_bundle(&roots, parts.crls)?;
        Ok(Self {
            identity,
            serial: leaf.serial,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            leaf: parts.leaf,
            resolver: Arc::new(SingleCertAndKey::from(key)),
            trust: Arc::new(Trust::new(cluster, roots, crls)?),
        })
    }

    /// Whether peers with the same roots and revocation lists would accept this certificate.
    ///
    /// # Errors
    /// The reason that they would give.
    pub fn check_own(&self, now: UnixTime) -> Result<(), Refusal> {
        let checked = match self.identity.kind {
            Kind::Tool => self.trust.check_client(&self.leaf, now),
            Kind::Node => {
                let name = ServerName::try_from(self.identity.server_name());
                let name = name.map_err(|error| Refusal::Malformed(error.to_string()))?;
                self.trust
                    .check_server(&self.leaf, &name, now)
                    .and_then(|_peer| self.trust.check_client(&self.leaf, now))
            }
        };
        checked.map(|_peer| ()).map_err(|rejected| rejected.refusal)
    }

    /// Who this side is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The certificate, as peers see it.
    #[must_use]
    pub const fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// Serial number of the certificate.
    #[must_use]
    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// First moment of the certificate's life.
    #[must_use]
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// Last moment of the certificate's life.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The revocation lists in force, one per root.
    #[must_use]
    pub fn crls(&self) -> Vec<CrlSummary> {
        self.trust.crls.iter().map(|crl| crl.summary).collect()
    }

    /// Re-verifies the chain that a live peer presented, against today's roots and lists.
    ///
    /// Only the chain's first certificate counts: our CAs have no intermediates.
    ///
    /// # Errors
    /// Why the peer is no longer welcome.
    pub fn verify_peer(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<PeerIdentity, Refusal> {
        let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
        self.trust.check_client(leaf, now).map_err(|rejected| rejected.refusal)
    }

    /// TLS for one accepted handshake; a refusal's reason lands in `refusal`.
    ///
    /// TLS 1.3 only, client certificate required, no tickets, no resumption, no early data: a
    /// resumed session would skip the certificate check. Costs no parsing, so make one per
    /// handshake.
    ///
    /// # Errors
    /// The credentials are a tool's, or the TLS library refuses.
    pub fn server_config(
        &self,
        alpn: &[&[u8]],
        clock: Arc<dyn TimeProvider>,
        refusal: RefusalSlot,
    ) -> Result<ServerConfig, TlsError> {
        self.server_config_with(provider(), alpn, clock, refusal)
    }

    pub(crate) fn server_config_with(
        &self,
        provider: Arc<CryptoProvider>,
        alpn: &[&[u8]],
        clock: Arc<dyn TimeProvider>,
        refusal: RefusalSlot,
    ) -> Result<ServerConfig, TlsError> {
        if self.identity.kind == Kind::Tool {
            return Err(TlsError::ToolAsServer);
        }
        let mut config = ServerConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(self.verifier(refusal))
            .with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = owned(alpn);
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// TLS for one dialled handshake; a refusal's reason lands in `refusal`.
    ///
    /// TLS 1.3 only, no resumption, no early data. The dialler passes
    /// [`Identity::server_name`] of the node it wants.
    ///
    /// # Errors
    /// The TLS library refuses.
    pub fn client_config(
        &self,
        alpn: &[&[u8]],
        clock: Arc<dyn TimeProvider>,
        refusal: RefusalSlot,
    ) -> Result<ClientConfig, TlsError> {
        self.client_config_with(provider(), alpn, clock, refusal)
    }

    pub(crate) fn client_config_with(
        &self,
        provider: Arc<CryptoProvider>,
        alpn: &[&[u8]],
        clock: Arc<dyn TimeProvider>,
        refusal: RefusalSlot,
    ) -> Result<ClientConfig, TlsError> {
        let config = ClientConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(refusal))
            .with_client_cert_resolver(self.resolver.clone());
        Ok(hardened(config, alpn))
    }

    pub(crate) fn verifier(&self, refusal: RefusalSlot) -> Arc<PeerVerifier> {
        Arc::new(PeerVerifier { trust: self.trust.clone(), refusal })
    }
}

/// What every dialling configuration has in common.
pub(crate) fn hardened(mut config: ClientConfig, alpn: &[&[u8]]) -> ClientConfig {
    config.alpn_protocols = owned(alpn);
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}
