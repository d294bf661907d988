//! Certificates of the simulated nodes.
//!
//! They are what the cluster's CA would issue but for their keys, which are Ed25519: an Ed25519
//! signature is 64 bytes, always. Those of ECDSA, which vary from 70 to 72, change by how much a
//! congestion window grows, and with it when a datagram leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use vioduct_certs::credentials::{Credentials, LoadError, Parts};
use vioduct_certs::identity::{Identity, NameError, Roles};
use vioduct_certs::serial::Serial;

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

/// Names a certificate: the first one of a node is number 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LeafName {
    node: NodeId,
    leaf: u8,
}

impl LeafName {
    /// 16 bytes, as the cluster's CA draws them at random.
    fn serial(self) -> [u8; 16] {
        let mut serial = [0x40; 16];
        let [.., leaf, node] = &mut serial;
        (*leaf, *node) = (self.leaf, self.node.0);
        serial
    }
}

/// The number of the certificate that has this serial number.
pub(super) fn leaf_of(serial: Serial) -> u8 {
    let [.., leaf, _node] = *serial.as_bytes();
    leaf
}

/// What a node presents and trusts, and what of the CA's work it is.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) credentials: Arc<Credentials>,
    /// Number of the certificate among those of the node.
    pub(super) leaf: u8,
    /// Number of the revocation list.
    pub(super) crl: u64,
}

/// The cluster's CA.
pub(super) struct SimCa {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    crl: CertificateRevocationListDer<'static>,
    crl_number: u64,
    /// The last certificate of each node.
    last: BTreeMap<NodeId, u8>,
    revoked: Vec<LeafName>,
    roles: Roles,
}

impl SimCa {
    /// A CA whose certificates name no roles.
    pub(super) fn new() -> Result<Self, IdentityError> {
        Self::for_roles(Roles::default())
    }

    /// A CA all of whose certificates name these roles.
    pub(super) fn for_roles(roles: Roles) -> Result<Self, IdentityError> {
        let root_name = LeafName { node: NodeId(0), leaf: 0 };
        let mut params = fields("vioduct CA sim", root_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let root = params.self_signed(&key)?.der().clone();
        let issuer = Issuer::new(params, key);
        let (crl_number, revoked) = (1, Vec::new());
        let crl = list(&issuer, crl_number, &revoked)?;
        Ok(Self { issuer, root, crl, crl_number, last: BTreeMap::new(), revoked, roles })
    }

    /// A new certificate for a node, valid from long ago until `life` from `now`, or for years, and
    /// the newest revocation list.
    pub(super) fn issue(
        &mut self,
        node: NodeId,
        now: UnixTime,
        life: Option<Duration>,
    ) -> Result<Held, IdentityError> {
        let last = self.last.entry(node).or_default();
        *last = last.saturating_add(1);
        let leaf = *last;
        let name = node.to_string();
        let identity = Identity::node(CLUSTER.parse()?, name.parse()?, self.roles);
        let mut params = fields(&name, LeafName { node, leaf });
        if let Some(life) = life {
            let ends = Duration::from_secs(now.as_secs()) + life;
            params.not_after = date_time_ymd(1970, 1, 1) + ends;
        }
        params.subject_alt_names = vec![
            SanType::URI(Ia5String::try_from(identity.uri())?),
            SanType::DnsName(Ia5String::try_from(identity.server_name())?),
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let parts = Parts {
            leaf: params.signed_by(&key, &self.issuer)?.der().clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            roots: vec![self.root.clone()],
            crls: vec![self.crl.clone()],
        };
        let credentials = Arc::new(Credentials::from_parts(parts, now)?);
        Ok(Held { credentials, leaf, crl: self.crl_number })
    }

    /// Revokes the last certificate of a node. Gives its number; the list that says so is the
    /// newest from now on.
    pub(super) fn revoke(&mut self, node: NodeId) -> Result<u8, IdentityError> {
        let leaf = self.last.get(&node).copied().unwrap_or_default();
        self.revoked.push(LeafName { node, leaf });
        self.crl_number += 1;
        self.crl = list(&self.issuer, self.crl_number, &self.revoked)?;
        Ok(leaf)
    }

    /// Number of the newest revocation list.
    pub(super) const fn crl_number(&self) -> u64 {
        self.crl_number
    }

    /// The same certificate under the newest revocation list.
    pub(super) fn updated(&self, held: &Held) -> Result<Held, IdentityError> {
        let credentials = Arc::new(held.credentials.with_crls(vec![self.crl.clone()])?);
        Ok(Held { credentials, crl: self.crl_number, ..*held })
    }
}

fn list(
    issuer: &Issuer<'static, KeyPair>,
    number: u64,
    revoked: &[LeafName],
) -> Result<CertificateRevocationListDer<'static>, IdentityError> {
    let entry = |name: &LeafName| RevokedCertParams {
        serial_number: SerialNumber::from_slice(&name.serial()),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2049, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(issuer)?.der().clone())
}

/// What root and leaf have in common. Every certificate of a node is as long as its others.
fn fields(common_name: &str, name: LeafName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.serial_number = Some(SerialNumber::from_slice(&name.serial()));
    params
}

#[cfg(test)]
mod tests {
    use vioduct_certs::refusal::Refusal;

    use super::*;

    fn at(secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000 + secs))
    }

    #[test]
    fn a_certificate_is_refused_once_it_is_revoked_or_over_and_its_successor_is_not() {
        let (mut ca, life) = (SimCa::new().unwrap(), Some(Duration::from_secs(3)));
        let judge = ca.issue(NodeId(1), at(0), None).unwrap();
        let old = ca.issue(NodeId(2), at(0), None).unwrap();
        let short = ca.issue(NodeId(2), at(0), life).unwrap();
        let verify = |judge: &Held, held: &Held, now| {
            let peer = judge.credentials.verify_peer(&[held.credentials.leaf().clone()], now)?;
            Ok::<_, Refusal>(leaf_of(peer.serial))
        };
        assert_eq!(verify(&judge, &old, at(9)), Ok(1));
        assert_eq!(verify(&judge, &short, at(3)), Ok(2));
        assert!(matches!(verify(&judge, &short, at(4)), Err(Refusal::Expired { .. })));
        assert_eq!(ca.revoke(NodeId(2)).unwrap(), 2);
        let judge = ca.updated(&judge).unwrap();
        assert_eq!((judge.leaf, judge.crl), (1, 2));
        assert!(matches!(verify(&judge, &short, at(3)), Err(Refusal::Revoked { .. })));
        let successor = ca.issue(NodeId(2), at(3), None).unwrap();
        assert_eq!(verify(&judge, &successor, at(9)), Ok(3));
        let lengths = [&old, &short, &successor].map(|held| held.credentials.leaf().len());
        assert_eq!(lengths, [lengths[0]; 3], "certificates of one length keep a seed's history");
    }
}
