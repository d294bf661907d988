//! Points in time, as certificates know them: whole seconds of UTC.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// The moment `secs` seconds after 1970-01-01T00:00:00Z.
#[must_use]
pub const fn at(secs: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(secs))
}

/// `moment` and `span` later; stops at the last moment a clock can name.
#[must_use]
pub fn after(moment: UnixTime, span: Duration) -> UnixTime {
    at(moment.as_secs().saturating_add(span.as_secs()))
}

/// `moment` less `span`; stops at 1970.
#[must_use]
pub fn before(moment: UnixTime, span: Duration) -> UnixTime {
    at(moment.as_secs().saturating_sub(span.as_secs()))
}

/// How long it is from `earlier` to `later`; zero when `later` is not later.
#[must_use]
pub fn between(earlier: UnixTime, later: UnixTime) -> Duration {
    Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

/// `2026-01-31T12:00:00Z`; seconds since 1970 for a moment past the year 9999.
#[must_use]
pub fn text(moment: UnixTime) -> String {
    to_offset(moment)
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", moment.as_secs()))
}

/// The calendar form, `None` past the year 9999, which no certificate can carry.
pub(crate) fn to_offset(moment: UnixTime) -> Option<OffsetDateTime> {
    let secs = i64::try_from(moment.as_secs()).ok()?;
    OffsetDateTime::from_unix_timestamp(secs).ok()
}

/// A parsed certificate's time; moments before 1970 become 1970.
pub(crate) fn from_asn1(time: x509_parser::time::ASN1Time) -> UnixTime {
    at(u64::try_from(time.timestamp()).unwrap_or(0))
}
