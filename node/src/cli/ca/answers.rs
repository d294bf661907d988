//! What the `vioduct ca` commands answer.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vioduct_certs::ca::ClusterCa;
use vioduct_certs::identity::{ClusterName, Kind, NodeName};
use vioduct_certs::moment::text;
use vioduct_certs::serial::Serial;

/// One certificate, as the answers show it.
#[derive(Debug, Serialize)]
pub(super) struct Issued {
    pub(super) identity: String,
    pub(super) serial: Serial,
    pub(super) not_after: String,
    pub(super) path: PathBuf,
}

impl fmt::Display for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, serial, not_after, path } = self;
        writeln!(f, "{}: {identity}, serial {serial}, until {not_after}", path.display())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Created {
    pub(super) cluster: ClusterName,
    pub(super) dir: PathBuf,
    pub(super) not_after: String,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, dir, not_after } = self;
        writeln!(f, "CA of cluster {cluster} made in {}, valid until {not_after}", dir.display())?;
        writeln!(f, "keep ca.key off the cluster's hosts, and keep a copy of the directory")
    }
}

#[derive(Debug, Serialize)]
pub(super) struct AllIssued {
    pub(super) hosts: Vec<Issued>,
}

impl fmt::Display for AllIssued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts.iter().try_for_each(|host| host.fmt(f))?;
        writeln!(f, "copy each directory to its host, readable by the node's user alone")
    }
}

/// The state of the revocation list after a change.
#[derive(Debug, Serialize)]
pub(super) struct ListSigned {
    pub(super) revoked: Vec<Serial>,
    pub(super) crl: PathBuf,
    pub(super) crl_number: u64,
    pub(super) next_update: String,
}

impl ListSigned {
    pub(super) fn new(ca: &ClusterCa, dir: &Path, revoked: Vec<Serial>) -> Self {
        Self {
            revoked,
            crl: dir.join("ca.crl"),
            crl_number: ca.crl().number,
            next_update: text(ca.crl().next_update),
        }
    }
}

impl fmt::Display for ListSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for serial in &self.revoked {
            writeln!(f, "revoked {serial}")?;
        }
        let (crl, number) = (self.crl.display(), self.crl_number);
        writeln!(f, "{crl} is revocation list {number}, to be replaced by {}", self.next_update)?;
        writeln!(f, "install it on every host: `vioduct cert install --dir DIR --crl ca.crl`")
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) serial: Serial,
    pub(super) kind: Kind,
    pub(super) name: NodeName,
    pub(super) not_after: String,
    pub(super) expired: bool,
    pub(super) revoked_at: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) cluster: ClusterName,
    pub(super) not_after: String,
    pub(super) crl_number: u64,
    pub(super) crl_next_update: String,
    pub(super) certificates: Vec<Entry>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster {}, CA valid until {}", self.cluster, self.not_after)?;
        let next = &self.crl_next_update;
        writeln!(f, "revocation list {}, to be replaced by {next}", self.crl_number)?;
        for entry in &self.certificates {
            let Entry { serial, kind, name, not_after, .. } = entry;
            let state = match (&entry.revoked_at, entry.expired) {
                (Some(moment), _) => format!("revoked {moment}"),
                (None, true) => format!("expired {not_after}"),
                (None, false) => format!("valid until {not_after}"),
            };
            writeln!(f, "{serial}  {kind} {name}  {state}")?;
        }
        Ok(())
    }
}
