//! Who the holder of a certificate is.
//!
//! The certificate carries it in its one URI SAN, in the shape of a SPIFFE id:
//!
//! ```text
//! spiffe://<cluster>/node/<name>/<roles>     roles sorted and joined by '.', or "none"
//! spiffe://<cluster>/tool/<name>
//! ```
//!
//! Each identity has one spelling, and everything else is refused: two readers of one certificate
//! can't disagree about whose it is. The reasons stand in `docs/adr/0002-identity-and-roles.md`.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::names::{ClusterName, NameError, NodeName};
pub use crate::roles::{Role, RoleError, Roles};

const SCHEME: &str = "spiffe://";

/// What kind of program holds a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A member of the cluster: it accepts links and dials them.
    Node,
    /// A program that only dials: command line, load harness. Holds no roles.
    Tool,
}

impl Kind {
    /// The kind's one spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Tool => "tool",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a certificate says about its holder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Identity {
    /// The cluster that the holder belongs to.
    pub cluster: ClusterName,
    /// The holder's name, unique among the nodes (or the tools) of its cluster.
    pub name: NodeName,
    /// What kind of program the holder is.
    pub kind: Kind,
    /// What the holder may do. Empty for a tool.
    pub roles: Roles,
}

/// Why a certificate's names are not an identity. Fault: whoever issued the certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The URI is not of the shape `spiffe://<cluster>/<kind>/<name>…`.
    #[error("{0:?} is not an identity URI")]
    Shape(String),
    /// The cluster or node name in the URI is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The roles in the URI are not roles.
    #[error(transparent)]
    Role(#[from] RoleError),
    /// The URI names an identity, but not in its one spelling.
    #[error("{got:?} is not canonical, the one spelling is {canonical:?}")]
    NotCanonical {
        /// The URI as read.
        got: String,
        /// The same identity as it has to be written.
        canonical: String,
    },
    /// A tool was given roles; only nodes hold them.
    #[error("a tool holds no roles")]
    ToolWithRoles,
    /// The certificate does not hold exactly one URI SAN.
    #[error("certificate holds {count} URI names, exactly one is needed")]
    UriCount {
        /// How many URI SANs were found.
        count: usize,
    },
    /// The DNS SANs don't agree with the URI: a node has its server name, a tool none.
    #[error("certificate's DNS names {got:?} do not match its identity")]
    DnsNames {
        /// The DNS SANs as read.
        got: Vec<String>,
    },
    /// The certificate holds a SAN that is neither URI nor DNS.
    #[error("certificate holds a name that is neither URI nor DNS")]
    ForeignName,
}

impl Identity {
    /// A node of `cluster`.
    #[must_use]
    pub const fn node(cluster: ClusterName, name: NodeName, roles: Roles) -> Self {
        Self { cluster, name, kind: Kind::Node, roles }
    }

    /// A tool of `cluster`.
    #[must_use]
    pub const fn tool(cluster: ClusterName, name: NodeName) -> Self {
        Self { cluster, name, kind: Kind::Tool, roles: Roles::none() }
    }

    /// The identity as the certificate's URI SAN writes it.
    #[must_use]
    pub fn uri(&self) -> String {
        let Self { cluster, name, kind, roles } = self;
        match kind {
            Kind::Node => format!("{SCHEME}{cluster}/node/{name}/{roles}"),
            Kind::Tool => format!("{SCHEME}{cluster}/tool/{name}"),
        }
    }

    /// Reads [`Identity::uri`] back.
    ///
    /// # Errors
    /// Every text that [`Identity::uri`] would not have written.
    pub fn from_uri(uri: &str) -> Result<Self, IdentityError> {
        let shape = || IdentityError::Shape(uri.to_owned());
        let rest = uri.strip_prefix(SCHEME).ok_or_else(shape)?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().ok_or_else(shape);
        let (cluster, kind, name) = (next()?.parse()?, next()?, next()?.parse()?);
        let identity = match kind {
            "node" => Self::node(cluster, name, next()?.parse()?),
            "tool" => Self::tool(cluster, name),
            _ => return Err(shape()),
        };
        let canonical = identity.uri();
        if canonical != uri {
            return Err(IdentityError::NotCanonical { got: uri.to_owned(), canonical });
        }
        Ok(identity)
    }

    /// The DNS name that a dialler checks, `<name>.<cluster>.vioduct.internal`.
    ///
    /// Only a node's certificate carries it. No name is looked up.
    #[must_use]
    pub fn server_name(&self) -> String {
        self.name.server_name(&self.cluster)
    }

    /// Whether both are the same node or tool, be it with other roles.
    #[must_use]
    pub fn is_same_holder(&self, other: &Self) -> bool {
        (&self.cluster, &self.name, self.kind) == (&other.cluster, &other.name, other.kind)
    }

    /// The DNS names that this identity's certificate carries.
    pub(crate) fn dns_names(&self) -> Vec<String> {
        match self.kind {
            Kind::Node => vec![self.server_name()],
            Kind::Tool => Vec::new(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri())
    }
}

#[cfg(test)]
mod tests;
