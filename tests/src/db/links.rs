//! The links between the nodes of a database, each through a proxy of its own each way.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::fault::{UdpProxy, UdpProxyConfig};

/// The proxies, by who dials whom.
#[derive(Debug)]
pub struct Links {
    proxies: BTreeMap<(String, String), UdpProxy>,
}

impl Links {
    /// Puts proxies between nodes that do not run yet: their files say where to dial.
    ///
    /// # Errors
    /// A proxy does not start, or a file can't be written.
    pub(super) fn between(cluster: &Cluster, names: &[String]) -> Result<Self> {
        let mut proxies = BTreeMap::new();
        for from in names {
            let file = cluster.config(from);
            let mut config = fs::read_to_string(&file)?;
            for to in names.iter().filter(|to| *to != from) {
                let direct = cluster.addr(to);
                let target: SocketAddr = direct.parse()?;
                let listen = SocketAddr::new(target.ip(), 0);
                let proxy = UdpProxy::start(UdpProxyConfig { listen, target, seed: 1 })?;
                config = config.replace(direct, &proxy.addr().to_string());
                proxies.insert((from.clone(), to.clone()), proxy);
            }
            fs::write(file, config)?;
        }
        Ok(Self { proxies })
    }

    /// Cuts what there is between two nodes, whoever dials.
    ///
    /// # Errors
    /// There are no such nodes.
    pub fn cut(&self, one: &str, other: &str) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            let proxy = self.proxies.get(&(from.to_owned(), to.to_owned()));
            proxy.with_context(|| format!("no link from {from} to {to}"))?.cut_both();
        }
        Ok(())
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.proxies.values().for_each(UdpProxy::heal);
    }
}
