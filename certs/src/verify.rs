//! Checks of a peer's certificate: the TLS library's first, then ours on who it names.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::credentials::{LoadError, PeerIdentity};
use crate::crl::{Crl, Root};
use crate::identity::{ClusterName, Kind, NodeName};
use crate::leaf::Leaf;
use crate::provider::provider;
use crate::refusal::{Refusal, RefusalSlot};

/// What a node believes: its cluster's name, the roots and their revocation lists.
pub(crate) struct Trust {
    pub(crate) cluster: ClusterName,
    pub(crate) roots: Vec<Root>,
    pub(crate) crls: Vec<Crl>,
    client: Arc<dyn ClientCertVerifier>,
    server: Arc<WebPkiServerVerifier>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("cluster", &self.cluster)
            .field("root_count", &self.roots.len())
            .field("crls", &self.crls.iter().map(|crl| crl.summary).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A refusal, and what TLS is told so that it sends the fitting alert.
pub(crate) struct Rejected {
    pub(crate) refusal: Refusal,
    pub(crate) tls: rustls::Error,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        let tls = CertificateError::Other(OtherError(Arc::new(refusal.clone()))).into();
        Self { refusal, tls }
    }
}

impl Trust {
    pub(crate) fn new(
        cluster: ClusterName,
        roots: Vec<Root>,
        crls: Vec<Crl>,
    ) -> Result<Self, LoadError> {
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.der.clone()).map_err(LoadError::Root)?;
        }
        let store = Arc::new(store);
        let lists = || crls.iter().map(|crl| crl.der.clone());
        let client = WebPkiClientVerifier::builder_with_provider(store.clone(), provider())
            .with_crls(lists())
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration()
            // The names of our CAs are nobody's business before the peer has shown who it is.
            .clear_root_hint_subjects()
            .build()
            .map_err(LoadError::Trust)?;
        let server = WebPkiServerVerifier::builder_with_provider(store, provider())
            .with_crls(lists())
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration()
            .build()
            .map_err(LoadError::Trust)?;
        Ok(Self { cluster, roots, crls, client, server })
    }

    /// Checks a peer that dials us, or one that a link exists with already.
    ///
    /// Our CAs have path length 0, so whatever else a peer sends beside its leaf is not looked at.
    pub(crate) fn check_client(
        &self,
        leaf: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<PeerIdentity, Rejected> {
        let outcome = self.client.verify_client_cert(leaf, &[], now);
        self.judge(leaf, outcome.map(|_verified| ()), None)
    }

    /// Checks a peer that we dial under `name`.
    pub(crate) fn check_server(
        &self,
        leaf: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<PeerIdentity, Rejected> {
        let outcome = self.server.verify_server_cert(leaf, &[], name, &[], now);
        let peer = self.judge(leaf, outcome.map(|_verified| ()), Some(name))?;
        match peer.identity.kind {
            Kind::Node => Ok(peer),
            // A tool accepts no links, whatever its certificate's usages say.
            Kind::Tool => Err(Refusal::WrongUsage.into()),
        }
    }

    fn judge(
        &self,
        der: &CertificateDer<'_>,
        outcome: Result<(), rustls::Error>,
        dialled: Option<&ServerName<'_>>,
    ) -> Result<PeerIdentity, Rejected> {
        let leaf = Leaf::parse(der);
        outcome.map_err(|tls| Rejected {
            refusal: self.explain(leaf.as_ref().ok(), &tls, dialled),
            tls,
        })?;
        let leaf = leaf.map_err(|error| Refusal::Malformed(error.to_string()))?;
        let identity = leaf.identity.map_err(Refusal::from)?;
        if identity.cluster != self.cluster {
            return Err(self.wrong_cluster(identity.cluster).into());
        }
        leaf.names.map_err(Refusal::from)?;
        Ok(PeerIdentity { identity, serial: leaf.serial, not_after: leaf.not_after })
    }

    fn wrong_cluster(&self, got: ClusterName) -> Refusal {
        Refusal::WrongCluster { expected: self.cluster.clone(), got }
    }

    /// Turns the TLS library's error into ours. `leaf` is absent if it could not be read.
    fn explain(
        &self,
        leaf: Option<&Leaf>,
        error: &rustls::Error,
        dialled: Option<&ServerName<'_>>,
    ) -> Refusal {
        let error = match error {
            rustls::Error::InvalidCertificate(error) => error,
            rustls::Error::InvalidCertRevocationList(error) => {
                return Refusal::CrlUnusable(format!("{error:?}"));
            }
            other => return Refusal::Malformed(other.to_string()),
        };
        match error {
            CertificateError::ExpiredContext { time, not_after } => {
                Refusal::Expired { now: *time, not_after: *not_after }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Refusal::NotYetValid { now: *time, not_before: *not_before }
            }
            CertificateError::Revoked => leaf.map_or_else(
                || Refusal::Malformed(error.to_string()),
                |leaf| Refusal::Revoked { serial: leaf.serial },
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                if leaf.is_some_and(|leaf| leaf.self_issued) {
                    Refusal::SelfSigned
                } else {
                    Refusal::ForeignCa
                }
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Refusal::WrongUsage
            }
            CertificateError::UnknownRevocationStatus => Refusal::CrlMissing,
            CertificateError::ExpiredRevocationListContext { next_update, .. } => {
                Refusal::CrlStale { next_update: *next_update }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.wrong_name(leaf, dialled)
            }
            other => self.unforeseen(leaf, other),
        }
    }

    fn wrong_name(&self, leaf: Option<&Leaf>, dialled: Option<&ServerName<'_>>) -> Refusal {
        let unreadable =
            || Refusal::Malformed("certificate is not for the dialled name".to_owned());
        let Some(leaf) = leaf else { return unreadable() };
        let got = match &leaf.identity {
            Ok(identity) if identity.cluster != self.cluster => {
                return self.wrong_cluster(identity.cluster.clone());
            }
            // A tool has no DNS name, so it fails here before its usages are looked at.
            Ok(identity) if identity.kind == Kind::Tool => return Refusal::WrongUsage,
            Ok(identity) => identity.name.clone(),
            Err(error) => return error.clone().into(),
        };
        match dialled.and_then(|name| self.node_of(name)) {
            Some(expected) if expected != got => Refusal::WrongNode { expected, got },
            _ => unreadable(),
        }
    }

    /// The node whose server name in this cluster is `name`.
    fn node_of(&self, name: &ServerName<'_>) -> Option<NodeName> {
        let ServerName::DnsName(name) = name else { return None };
        let label = name.as_ref().strip_suffix(&self.cluster.dns_suffix())?;
        label.strip_suffix('.')?.parse().ok()
    }

    fn unforeseen(&self, leaf: Option<&Leaf>, error: &CertificateError) -> Refusal {
        let Some(leaf) = leaf else { return Refusal::Malformed(error.to_string()) };
        match &leaf.identity {
            _ if leaf.self_issued => Refusal::SelfSigned,
            // Another cluster's DNS name runs into the CA's name constraint before anything else.
            Ok(identity) if identity.cluster != self.cluster => {
                self.wrong_cluster(identity.cluster.clone())
            }
            _ => Refusal::Malformed(error.to_string()),
        }
    }
}

/// The verifier of one handshake: checks, and leaves the reason of a refusal in its slot.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    pub(crate) trust: Arc<Trust>,
    pub(crate) refusal: RefusalSlot,
}

impl PeerVerifier {
    fn settle(&self, outcome: Result<PeerIdentity, Rejected>) -> Result<(), rustls::Error> {
        outcome.map(|_peer| ()).map_err(|rejected| {
            self.refusal.record(rejected.refusal);
            rejected.tls
        })
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trust.client.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.settle(self.trust.check_client(end_entity, now))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.client.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.client.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.client.supported_verify_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.settle(self.trust.check_server(end_entity, server_name, now))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.server.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.server.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.server.supported_verify_schemes()
    }
}
