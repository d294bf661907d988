//! The fields of the certificates that a cluster CA makes.
//!
//! | field | root | leaf |
//! |---|---|---|
//! | key | ECDSA P-256 | ECDSA P-256 |
//! | subject | `CN=vioduct CA <cluster> <8 hex digits>` | `CN=<name>` |
//! | basic constraints | CA, path length 0 | none |
//! | key usage | keyCertSign, cRLSign | digitalSignature |
//! | extended key usage | none | node: serverAuth and clientAuth; tool: clientAuth |
//! | names | only DNS `<cluster>.vioduct.internal`; no IP address | URI SAN; a node one DNS SAN |
//! | serial | 16 random bytes | 16 random bytes |
//! | key identifiers | subject | authority |
//!
//! URI names are not constrained in the root: the verifier in use refuses every URI SAN below such
//! a constraint. The cluster in the URI is compared in code instead.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType,
    SerialNumber,
};
use rustls_pki_types::UnixTime;

use crate::ca::CaError;
use crate::identity::{ClusterName, Identity, Kind};
use crate::moment::{before, to_offset};
use crate::serial::Serial;

/// How far a certificate's life begins in the past, for hosts whose clock is behind.
pub(crate) const BACKDATE: Duration = Duration::from_secs(300);

/// First and last moment of a certificate's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime {
    pub(crate) not_before: UnixTime,
    pub(crate) not_after: UnixTime,
}

impl Lifetime {
    pub(crate) fn from_now(validity: Duration, now: UnixTime) -> Result<Self, CaError> {
        if validity < Duration::from_secs(1) {
            return Err(CaError::NoValidity);
        }
        let not_after = crate::moment::after(now, validity);
        to_offset(not_after).ok_or(CaError::DateRange)?;
        Ok(Self { not_before: before(now, BACKDATE), not_after })
    }
}

/// What a leaf says.
#[derive(Debug, Clone)]
pub(crate) struct LeafProfile {
    pub(crate) common_name: String,
    pub(crate) uri: String,
    pub(crate) dns_names: Vec<String>,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) serial: Serial,
    pub(crate) lifetime: Lifetime,
}

impl LeafProfile {
    pub(crate) fn of(identity: &Identity, serial: Serial, lifetime: Lifetime) -> Self {
        let usages = match identity.kind {
            Kind::Node => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Kind::Tool => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        Self {
            common_name: identity.name.to_string(),
            uri: identity.uri(),
            dns_names: identity.dns_names(),
            usages,
            serial,
            lifetime,
        }
    }

    pub(crate) fn params(&self) -> Result<CertificateParams, CaError> {
        let mut params = base(&self.common_name, self.serial, self.lifetime)?;
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from(self.uri.as_str())?));
        for name in &self.dns_names {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.as_str())?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.usages.clone();
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// The root's fields. `tag` keeps the subjects of two CAs of one cluster apart: a revocation list
/// is found by its issuer's name.
pub(crate) fn root_params(
    cluster: &ClusterName,
    tag: [u8; 4],
    serial: Serial,
    lifetime: Lifetime,
) -> Result<CertificateParams, CaError> {
    let tag = u32::from_be_bytes(tag);
    let mut params = base(&format!("vioduct CA {cluster} {tag:08x}"), serial, lifetime)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(cluster.dns_suffix())],
        // A DNS constraint alone lets every IP address through.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    Ok(params)
}

fn base(
    common_name: &str,
    serial: Serial,
    lifetime: Lifetime,
) -> Result<CertificateParams, CaError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.not_before = to_offset(lifetime.not_before).ok_or(CaError::DateRange)?;
    params.not_after = to_offset(lifetime.not_after).ok_or(CaError::DateRange)?;
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name = name;
    Ok(params)
}
