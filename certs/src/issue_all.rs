//! One directory of certificates per host of an inventory.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::UnixTime;

use crate::ca::{CaError, ClusterCa};
use crate::ca_dir::IfExists;
use crate::files::{FileError, require_absent};
use crate::identity::NodeName;
use crate::inventory::{Inventory, InventoryNode};
use crate::serial::Serial;

/// Why the hosts' directories were not, or not all, written.
#[derive(Debug, thiserror::Error)]
pub enum IssueAllError {
    /// The CA refused. Nothing was written to the output directory.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// Directories of hosts exist already. Nothing was issued or written.
    #[error("already there, and not overwritten without --force: {}", list(paths))]
    Exists {
        /// Each directory found.
        paths: Vec<PathBuf>,
    },
    /// A file can't be written. Hosts before it are complete; run again to replace them all.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller's addition to a host's directory failed.
    #[error("can't complete the directory of node {node}")]
    Hook {
        /// The node.
        node: NodeName,
        /// What the hook said.
        #[source]
        source: io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut text: Vec<String> =
        paths.iter().take(SHOWN_MAX).map(|path| path.display().to_string()).collect();
    if paths.len() > SHOWN_MAX {
        text.push(format!("and {} more", paths.len().saturating_sub(SHOWN_MAX)));
    }
    text.join(", ")
}

/// What to issue, and where to.
#[derive(Debug, Clone, Copy)]
pub struct IssuePlan<'a> {
    /// The hosts.
    pub inventory: &'a Inventory,
    /// Gets one directory per host, named like the node.
    pub out: &'a Path,
    /// Life of each certificate.
    pub validity: Duration,
    /// What to do about directories that exist.
    pub if_exists: IfExists,
    /// The time of day.
    pub now: UnixTime,
}

/// One host's finished directory.
#[derive(Debug, Clone)]
pub struct IssuedHost {
    /// The node.
    pub node: InventoryNode,
    /// The serial number of its new certificate.
    pub serial: Serial,
    /// Last moment of the certificate's life.
    pub not_after: UnixTime,
    /// The directory.
    pub dir: PathBuf,
}

/// Issues a certificate to every node of the inventory.
///
/// `save` writes the CA down after the certificates are made and before any is written, so that
/// none is ever out of the record. `complete` may add files to each host's directory.
///
/// # Errors
/// See [`IssueAllError`] for what was done in each case.
pub fn issue_all(
    ca: &mut ClusterCa,
    plan: IssuePlan<'_>,
    save: impl FnOnce(&ClusterCa) -> Result<(), CaError>,
    mut complete: impl FnMut(&InventoryNode, &Path) -> io::Result<()>,
) -> Result<Vec<IssuedHost>, IssueAllError> {
    let dir_of = |node: &InventoryNode| plan.out.join(node.name.as_str());
    if plan.if_exists == IfExists::Refuse {
        refuse_existing(plan.inventory.nodes.iter().map(dir_of))?;
    }
    let mut bundles = Vec::with_capacity(plan.inventory.nodes.len());
    for node in &plan.inventory.nodes {
        bundles.push(ca.issue(&plan.inventory.identity(node), plan.validity, plan.now)?);
    }
    save(ca)?;
    let mut hosts = Vec::with_capacity(bundles.len());
    for (node, bundle) in plan.inventory.nodes.iter().zip(bundles) {
        let dir = dir_of(node);
        bundle.write_to(&dir, plan.if_exists)?;
        complete(node, &dir)
            .map_err(|source| IssueAllError::Hook { node: node.name.clone(), source })?;
        hosts.push(IssuedHost {
            node: node.clone(),
            serial: bundle.serial,
            not_after: bundle.not_after,
            dir,
        });
    }
    Ok(hosts)
}

fn refuse_existing(dirs: impl Iterator<Item = PathBuf>) -> Result<(), IssueAllError> {
    let mut paths = Vec::new();
    for dir in dirs {
        match require_absent(&dir) {
            Ok(()) => {}
            Err(FileError::Exists { path }) => paths.push(path),
            Err(error) => return Err(error.into()),
        }
    }
    if paths.is_empty() { Ok(()) } else { Err(IssueAllError::Exists { paths }) }
}
