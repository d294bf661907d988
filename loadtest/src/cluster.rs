//! The nodes of a run, and the tool that asks them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::{Inventory, NodeAddr};
use vioduct_node::tool::Tool;

/// These nodes of an inventory; all of them when none is named.
///
/// # Errors
/// The inventory, or a name that is not in it. Fault: the caller.
pub(crate) fn chosen(path: &Path, names: &[NodeName]) -> Result<Vec<(NodeName, NodeAddr)>> {
    let inventory =
        Inventory::load(path).with_context(|| format!("inventory {}", path.display()))?;
    for name in names {
        if !inventory.nodes.iter().any(|node| node.name == *name) {
            bail!("{} has no node {name}", path.display());
        }
    }
    let is_chosen = |name: &NodeName| names.is_empty() || names.contains(name);
    let all = inventory.nodes.into_iter().map(|node| (node.name, node.addr));
    Ok(all.filter(|(name, _addr)| is_chosen(name)).collect())
}

/// The tool whose certificate is in this directory.
pub(crate) fn tool(certs: &Path) -> Result<Tool> {
    let credentials = Credentials::load(certs, UnixTime::now())
        .with_context(|| format!("certificates in {}", certs.display()))?;
    Ok(Tool::new(credentials)?)
}
