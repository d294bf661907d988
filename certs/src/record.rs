//! The CA's memory, `issued.toml`: which certificates exist, and which are revoked.

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};

use crate::identity::{ClusterName, Identity, Kind, NodeName};
use crate::moment::{DAY, after, at};
use crate::serial::Serial;

/// Version of the file's format.
pub(crate) const VERSION: u32 = 1;

/// One certificate that the CA has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedEntry {
    /// The certificate's serial number.
    pub serial: Serial,
    /// Name of the node or tool.
    pub name: NodeName,
    /// Node or tool.
    pub kind: Kind,
    /// Last moment of its life, in seconds since 1970.
    pub not_after: u64,
    /// When it was revoked, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

impl IssuedEntry {
    /// Whether the certificate's life is over.
    #[must_use]
    pub const fn is_expired(&self, now: UnixTime) -> bool {
        self.not_after < now.as_secs()
    }
}

/// The content of `issued.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) cluster: ClusterName,
    /// Number of the newest revocation list; only grows.
    pub(crate) crl_number: u64,
    /// How long a revocation list is believed.
    pub(crate) crl_life_days: u16,
    #[serde(default)]
    pub(crate) issued: Vec<IssuedEntry>,
}

impl Record {
    pub(crate) fn new(cluster: ClusterName, crl_life_days: u16) -> Self {
        Self { version: VERSION, cluster, crl_number: 0, crl_life_days, issued: Vec::new() }
    }

    pub(crate) fn add(&mut self, identity: &Identity, serial: Serial, not_after: UnixTime) {
        self.issued.push(IssuedEntry {
            serial,
            name: identity.name.clone(),
            kind: identity.kind,
            not_after: not_after.as_secs(),
            revoked_at: None,
        });
    }

    /// Marks the unexpired, unrevoked certificates that `wanted` picks; returns their serials.
    pub(crate) fn revoke(
        &mut self,
        now: UnixTime,
        wanted: impl Fn(&IssuedEntry) -> bool,
    ) -> Vec<Serial> {
        let mut revoked = Vec::new();
        for entry in &mut self.issued {
            if entry.revoked_at.is_none() && !entry.is_expired(now) && wanted(entry) {
                entry.revoked_at = Some(now.as_secs());
                revoked.push(entry.serial);
            }
        }
        revoked
    }

    /// What a revocation list signed at `now` names.
    ///
    /// An expired certificate stays a day longer, for hosts whose clock is behind; then its date
    /// alone keeps it out, and the list can't grow for ever.
    pub(crate) fn listed(&self, now: UnixTime) -> impl Iterator<Item = (Serial, UnixTime)> {
        self.issued.iter().filter_map(move |entry| {
            let gone = after(at(entry.not_after), DAY) < now;
            entry.revoked_at.filter(|_moment| !gone).map(|moment| (entry.serial, at(moment)))
        })
    }
}
