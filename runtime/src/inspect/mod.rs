//! What a node has under way: its actors, its peers, its cluster, and its counts.
//!
//! [`Node::inspect`] gives it for the own node. Other nodes and tools ask the actor that [`start`]
//! begins, page by page, if its [`Access`] lets them; without it, nobody is told anything.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use vioduct_runtime::{Access, Node, inspect};
//! # async fn example(node: &Node, other: &Node) -> Result<(), Box<dyn std::error::Error>> {
//! inspect::start(node, Access::tools()).await?;
//! // In a tool with a link to `node`:
//! let seen = inspect::ask_all(other, node.name(), Duration::from_secs(5)).await?;
//! for actor in &seen.actors {
//!     println!("{} {:?}: {} waiting", actor.serial, actor.name, actor.waiting);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The figures are read one after another while the node runs on: each is right, but a message on
//! its way from one to another may be in both or in none.

mod actor;
pub(crate) mod count;
mod exposition;
mod figures;
pub(crate) mod gather;

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use vioduct_certs::identity::NodeName;

pub use self::actor::{Inspect, Inspector};
pub use self::exposition::prometheus;
pub use self::figures::{
    ActorFigures, AskFigures, ClusterFigures, ExportFigures, Inspection, LinkFigures, LinkPhase,
    Mark, MemberFigures, Page, PeerFigures, PeerKind, RefusalFigures, Totals, TypeFigures,
};
use crate::access::Access;
use crate::actor::ActorHandle;
use crate::error::{AskError, DEADLINE_MAX, NotDelivered, StartError};
use crate::id::ActorName;
use crate::node::Node;
use crate::reference::ActorRef;

/// Under which name a node's [`Inspector`] is found.
pub const NAME: &str = "vioduct.inspect";
/// Most pages that [`ask_all`] asks for.
const PAGES_MAX: u32 = 4096;

/// Lets those that `access` allows see what this node has under way.
///
/// # Errors
/// [`StartError`]; [`StartError::NameTaken`] when it was started before.
pub async fn start(node: &Node, access: Access) -> Result<ActorHandle<Inspector>, StartError> {
    let shared = node.shared().clone();
    let inspector = node.actor(move || Inspector::new(&shared)).named(ActorName::known(NAME));
    inspector.accept::<Inspect>(access).start().await
}

/// One page of what that node has under way. Cancel-safe.
///
/// # Errors
/// [`NotDelivered::NoSuchActor`] when that node tells nobody, [`NotDelivered::AccessDenied`] when
/// it does not tell this one, and what any ask may end with.
pub async fn ask(
    node: &Node,
    at: &NodeName,
    page: Page,
    deadline: Duration,
) -> Result<Inspection, AskError> {
    let until = Instant::now() + deadline.min(DEADLINE_MAX);
    let inspector = inspector(node, at, until).await?;
    page_of(&inspector, page, until).await
}

/// Everything that node has under way, put together of its pages within `deadline`. What came into
/// being after its page was read is missing. If there are more than 4096 pages, the rest is left
/// out, and [`Inspection::next`] says where it begins. Cancel-safe.
///
/// # Errors
/// As [`ask`]; nothing is given when one page is missing.
pub async fn ask_all(
    node: &Node,
    at: &NodeName,
    deadline: Duration,
) -> Result<Inspection, AskError> {
    let until = Instant::now() + deadline.min(DEADLINE_MAX);
    let inspector = inspector(node, at, until).await?;
    let mut whole = page_of(&inspector, Page::default(), until).await?;
    for _page in 1..PAGES_MAX {
        let Some(page) = whole.next.take() else { break };
        let more = page_of(&inspector, page, until).await?;
        whole.actors.extend(more.actors);
        whole.peers.extend(more.peers);
        whole.members.extend(more.members);
        whole.next = more.next;
    }
    Ok(whole)
}

async fn inspector(
    node: &Node,
    at: &NodeName,
    until: Instant,
) -> Result<ActorRef<Inspector>, NotDelivered> {
    let name = ActorName::known(NAME);
    timeout_at(until, node.lookup(at, &name)).await.unwrap_or(Err(NotDelivered::Late))
}

async fn page_of(
    inspector: &ActorRef<Inspector>,
    page: Page,
    until: Instant,
) -> Result<Inspection, AskError> {
    let left = until.saturating_duration_since(Instant::now());
    let after = page.after.clone();
    let mut inspection = inspector.ask(Inspect { page }, left).await?;
    // A node that answers with the same page for ever is not listened to for ever.
    inspection.next = inspection.next.filter(|next| next.after > after);
    Ok(inspection)
}
