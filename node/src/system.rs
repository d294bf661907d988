//! The actors that every node has: what tools and other nodes may ask of the node itself.
//!
//! | actor | message | answer |
//! |---|---|---|
//! | [`STATUS`] | [`Status`] | how it is: [`NodeStatus`](crate::status::NodeStatus), as JSON |
//! | [`ECHO`] | [`Echo`] | the same body, and the message's turn |
//! | [`SINK`] | [`Sink`] | none; it is counted and dropped |
//! | | [`SinkQuery`] | how many came, and how many out of order |
//!
//! Beside these, the runtime's own [inspector](vioduct_runtime::inspect) tells of actors and links.
//!
//! Every node and tool of the cluster may send all of it; nothing here changes a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vioduct_runtime::{Access, ActorName, Node, StartError, inspect};

use crate::reporter::Reporter;
use crate::status::ServiceCounts;

mod echo;
mod messages;
mod sink;
mod status;

pub use echo::EchoActor;
pub use messages::{
    ECHO, Echo, Echoed, SINK, STATUS, Sink, SinkCount, SinkQuery, Status, StatusText, Turn,
};
pub use sink::SinkActor;
pub use status::StatusActor;

/// Credit of each sender towards the echo actor: enough for as many small messages as a load test
/// has under way.
const ECHO_WINDOW_BYTES: u32 = 16 << 20;
/// They run beside the links: a message to them crosses no threads.
const WORKER: usize = 0;

/// What the system actors have done, over all their lives.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    echoes: AtomicU64,
    statuses: AtomicU64,
    sunk: AtomicU64,
}

/// Counts one more; gives how many there are with it.
fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

impl Counts {
    pub(crate) fn read(&self) -> ServiceCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServiceCounts {
            echoes: read(&self.echoes),
            statuses: read(&self.statuses),
            sunk: read(&self.sunk),
        }
    }
}

/// The name of a system actor.
pub(crate) fn name(name: &'static str) -> ActorName {
    ActorName::new(name).expect("the names of system actors are short and plain")
}

/// Starts a node's system actors.
pub(crate) async fn start(node: &Node, reporter: Arc<Reporter>) -> Result<(), StartError> {
    let everybody = || Access::nodes().or(Access::tools());
    let (counts, run) = (Arc::clone(reporter.counts()), node.incarnation());
    let echo = node.actor(move || EchoActor::new(run, Arc::clone(&counts))).named(name(ECHO));
    let echo = echo.accept::<Echo>(everybody()).window(ECHO_WINDOW_BYTES);
    echo.on_worker(WORKER).start().await?;

    let counts = Arc::clone(reporter.counts());
    let sink = node.actor(move || SinkActor::new(Arc::clone(&counts))).named(name(SINK));
    let sink = sink.accept::<Sink>(everybody()).accept::<SinkQuery>(everybody());
    sink.on_worker(WORKER).start().await?;

    inspect::start(node, everybody()).await?;
    let status = node.actor(move || StatusActor::new(Arc::clone(&reporter))).named(name(STATUS));
    status.accept::<Status>(everybody()).on_worker(WORKER).start().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
