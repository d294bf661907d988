//! Certificates of the simulated nodes.
//!
//! They are what the cluster's CA would issue but for their keys, which are Ed25519: an Ed25519
//! signature is 64 bytes, always. Those of ECDSA, which vary from 70 to 72, change by how much a
//! congestion window grows, and with it when a datagram leaves.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use vioduct_certs::credentials::{Credentials, LoadError, Parts};
use vioduct_certs::identity::{Identity, NameError, Roles};

use super::message::NodeId;

const CLUSTER: &str = "sim";

/// Why a simulated node has no certificate. Fault: ours.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It could not be made.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The node does not accept its own certificate.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The cluster's CA.
pub(super) struct SimCa {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    crl: CertificateRevocationListDer<'static>,
}

impl SimCa {
    pub(super) fn new() -> Result<Self, IdentityError> {
        let mut params = fields("vioduct CA sim", 0);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let root = params.self_signed(&key)?.der().clone();
        let issuer = Issuer::new(params, key);
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2049, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = list.signed_by(&issuer)?.der().clone();
        Ok(Self { issuer, root, crl })
    }

    /// Credentials of a node, checked at `now`.
    pub(super) fn node(&self, node: NodeId, now: UnixTime) -> Result<Credentials, IdentityError> {
        let name = node.to_string();
        let identity = Identity::node(CLUSTER.parse()?, name.parse()?, Roles::default());
        let mut params = fields(&name, node.0);
        params.subject_alt_names = vec![
            SanType::URI(Ia5String::try_from(identity.uri())?),
            SanType::DnsName(Ia5String::try_from(identity.server_name())?),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();
        let parts = Parts {
            leaf,
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            roots: vec![self.root.clone()],
            crls: vec![self.crl.clone()],
        };
        Ok(Credentials::from_parts(parts, now)?)
    }
}

/// What root and leaf have in common.
fn fields(common_name: &str, number: u8) -> CertificateParams {
    let mut serial = [0x40; 16];
    let [.., last] = &mut serial;
    *last = number;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}
