//! Who may send a message to an actor.

use std::fmt;
use std::sync::Arc;

use vioduct_certs::identity::{Identity, Kind, NodeName, Role};

/// Decides by the identity in the sender's certificate. What is not exported is taken from nobody.
///
/// Actors of the same node are not asked.
#[derive(Clone)]
pub struct Access(Arc<dyn Fn(&Identity) -> bool + Send + Sync>);

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    /// Those that the predicate accepts. It is asked once for each sender, actor and message, and
    /// again when the sender's certificate changes: it must not depend on anything else.
    pub fn when(predicate: impl Fn(&Identity) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(predicate))
    }

    /// Every node of the cluster.
    #[must_use]
    pub fn nodes() -> Self {
        Self::when(|identity| identity.kind == Kind::Node)
    }

    /// The nodes that hold one of these roles.
    pub fn roles(roles: impl IntoIterator<Item = Role>) -> Self {
        let roles: Vec<Role> = roles.into_iter().collect();
        Self::when(move |identity| {
            identity.kind == Kind::Node && identity.roles.iter().any(|role| roles.contains(&role))
        })
    }

    /// One node.
    #[must_use]
    pub fn node(name: NodeName) -> Self {
        Self::when(move |identity| identity.kind == Kind::Node && identity.name == name)
    }

    /// Every tool of the cluster: command line, load harness.
    #[must_use]
    pub fn tools() -> Self {
        Self::when(|identity| identity.kind == Kind::Tool)
    }

    /// Those that this or the other accepts.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::when(move |identity| self.allows(identity) || other.allows(identity))
    }

    pub(crate) fn allows(&self, identity: &Identity) -> bool {
        (self.0)(identity)
    }
}
