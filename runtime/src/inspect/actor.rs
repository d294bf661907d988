//! The actor that shows a node to other nodes and to tools.
//!
//! It owns nothing: it reads what the node counts. Whoever its access allows asks it.

use std::fmt;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult};
use serde::{Deserialize, Serialize};

use super::figures::{Inspection, Page};
use super::gather;
use crate::RemoteMessage;
use crate::node::NodeShared;

/// Asks for a page of what a node has under way.
#[derive(Debug, Clone, RemoteMessage, Serialize, Deserialize)]
#[remote(name = "vioduct.Inspect")]
pub struct Inspect {
    /// Which page.
    pub page: Page,
}

impl Message for Inspect {
    type Result = Inspection;
}

/// Answers [`Inspect`].
pub struct Inspector {
    node: Arc<NodeShared>,
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").field("node", &self.node.name).finish()
    }
}

impl Inspector {
    pub(super) fn new(node: &Arc<NodeShared>) -> Self {
        Self { node: Arc::clone(node) }
    }
}

impl Actor for Inspector {
    type Context = Context<Self>;
}

impl Handler<Inspect> for Inspector {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, Inspect { page }: Inspect, _ctx: &mut Self::Context) -> Self::Result {
        MessageResult(gather::page(&self.node, page))
    }
}
