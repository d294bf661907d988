//! Signing of revocation lists.

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::UnixTime;

use crate::ca::CaError;
use crate::crl::{CRL_SIZE_MAX, CrlError, CrlSummary};
use crate::moment::{DAY, after, to_offset};
use crate::record::Record;

/// Signs the list of what `record` holds, with the next number; PEM.
pub(super) fn sign_crl(
    issuer: &Issuer<'static, KeyPair>,
    record: &mut Record,
    now: UnixTime,
) -> Result<(String, CrlSummary), CaError> {
    let number = record.crl_number.checked_add(1).ok_or(CaError::DateRange)?;
    let next_update = after(now, DAY * u32::from(record.crl_life_days));
    let mut revoked_certs = Vec::new();
    for (serial, moment) in record.listed(now) {
        revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.as_bytes()),
            revocation_time: to_offset(moment).ok_or(CaError::DateRange)?,
            reason_code: None,
            invalidity_date: None,
        });
    }
    let revoked_count = revoked_certs.len();
    let list = CertificateRevocationListParams {
        this_update: to_offset(now).ok_or(CaError::DateRange)?,
        next_update: to_offset(next_update).ok_or(CaError::DateRange)?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(issuer)?;
    let len = list.der().len();
    if len > CRL_SIZE_MAX {
        return Err(CrlError::TooLarge { len }.into());
    }
    record.crl_number = number;
    Ok((list.pem()?, CrlSummary { number, this_update: now, next_update, revoked_count }))
}
