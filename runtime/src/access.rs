//! Who may send a message to an actor.

use std::fmt;
use std::sync::Arc;

use vioduct_certs::identity::{Identity, Kind, NodeName, Role};

/// Decides by the identity in the sender's certificate. What is not exported is taken from nobody.
///
/// Actors of the same node are not asked.
#[derive(Clone)]
pub struct Access {
    allows: Arc<dyn Fn(&Identity) -> bool + Send + Sync>,
    text: Arc<str>,
}

/// In words: `nodes`, `tools`, `node a`, `roles db, vios`, `a predicate`, joined by `or`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", self.text)
    }
}

impl Access {
    /// Those that the predicate accepts. It is asked once for each sender, actor and message, and
    /// again when the sender's certificate changes: it must not depend on anything else.
    pub fn when(predicate: impl Fn(&Identity) -> bool + Send + Sync + 'static) -> Self {
        Self::named("a predicate", predicate)
    }

    fn named(
        text: impl Into<Arc<str>>,
        predicate: impl Fn(&Identity) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { allows: Arc::new(predicate), text: text.into() }
    }

    /// Every node of the cluster.
    #[must_use]
    pub fn nodes() -> Self {
        Self::named("nodes", |identity| identity.kind == Kind::Node)
    }

    /// The nodes that hold one of these roles.
    pub fn roles(roles: impl IntoIterator<Item = Role>) -> Self {
        let roles: Vec<Role> = roles.into_iter().collect();
        let text = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self::named(format!("roles {text}"), move |identity| {
            identity.kind == Kind::Node && identity.roles.iter().any(|role| roles.contains(&role))
        })
    }

    /// One node.
    #[must_use]
    pub fn node(name: NodeName) -> Self {
        let text = format!("node {name}");
        Self::named(text, move |identity| identity.kind == Kind::Node && identity.name == name)
    }

    /// Every tool of the cluster: command line, load harness.
    #[must_use]
    pub fn tools() -> Self {
        Self::named("tools", |identity| identity.kind == Kind::Tool)
    }

    /// Those that this or the other accepts.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let text = format!("{self} or {other}");
        Self::named(text, move |identity| self.allows(identity) || other.allows(identity))
    }

    pub(crate) fn allows(&self, identity: &Identity) -> bool {
        (self.allows)(identity)
    }
}
