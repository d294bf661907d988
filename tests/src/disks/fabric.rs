//! The way of one VIOS to its storage, with a fault proxy in it.

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, bail};

use crate::fault::{Direction, Faults, TcpProxy, UdpProxy};

/// A fabric of the cluster, or the way to an outside storage.
#[derive(Debug)]
pub enum Fabric {
    /// To the repository.
    Udp(UdpProxy),
    /// To an outside storage.
    Tcp(TcpProxy),
}

impl Fabric {
    /// Where the VIOS finds its storage.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Self::Udp(proxy) => proxy.addr(),
            Self::Tcp(proxy) => proxy.addr(),
        }
    }

    /// Nothing passes from now on.
    pub fn cut_both(&self) {
        for direction in Direction::BOTH {
            self.cut(direction);
        }
    }

    /// Nothing passes in one direction from now on.
    pub fn cut(&self, direction: Direction) {
        match self {
            Self::Udp(proxy) => proxy.cut(direction),
            Self::Tcp(proxy) => proxy.cut(direction),
        }
    }

    /// All passes again. What was held on the way is lost: what it asks for may not live so long.
    ///
    /// # Errors
    /// The proxy can't listen again.
    pub fn heal(&self) -> io::Result<()> {
        match self {
            Self::Udp(proxy) => {
                proxy.heal();
                Ok(())
            }
            Self::Tcp(proxy) => {
                proxy.reset();
                proxy.heal()
            }
        }
    }

    /// Puts faults in force in both directions.
    ///
    /// # Errors
    /// It carries a stream, which has faults of its own.
    pub fn set_both(&self, faults: Faults) -> Result<()> {
        match self {
            Self::Udp(proxy) => proxy.set_both(faults),
            Self::Tcp(_) => bail!("these are faults of datagrams"),
        }
        Ok(())
    }
}
