//! Distributed storage access: it watches the VIOS's ways to the storage, and tells the redirect
//! actor when one is lost, degraded or back.
//!
//! ```text
//!               calls by its way                   ╭── heartbeats, before all data
//!   Redirect ───────────────────▶ fabric ◀─────────┤
//!     ▲  ▲ ▲──────── words ──────── │              │
//!     │  ╰─ PhysicalAdapter ◀───────╯ connections, │
//!     │          ╰────────▶ Dsa ───────────────────╯ answers
//!     ╰── states ────────────╯
//! ```
//!
//! All of them live on one worker. A path is one adapter's way to one storage: [`path`] has its
//! state machine, which does not rely on QUIC's idle time-out, nor on membership.

mod actor;
mod adapter;
pub mod limits;
pub mod operator;
pub mod path;

use vioduct_runtime::{
    Access, ActorName, ActorNameError, LocalRef, Node, RestartPolicy, StartError,
};

pub use self::actor::Dsa;
pub(crate) use self::actor::{AdapterNews, FollowPaths, FromAdapter, Line};
pub use self::adapter::PhysicalAdapter;
use self::limits::DsaLimits;
use self::operator::{FailPath, Paths, RestorePath};
use crate::carry::CarriedWord;
use crate::cke::Redirect;
use crate::fabric::FabricEnd;
use crate::redirect::limits::LimitError;
use crate::redirect::name::AdapterId;

/// The name of a VIOS's DSA among the actors of its node.
pub const DSA_NAME: &str = "vios.dsa";
/// An adapter's name among the actors of its node is this, and its own.
const ADAPTER_NAMES: &str = "vios.adapter.";

/// A physical adapter, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// What operators call it: letters, digits, `.`, `-`, `_`.
    pub name: String,
    /// What it leads to, in words for people: a node, or an outside server's address.
    pub storage: String,
    /// The port there that it leads to, if the storage has several.
    pub port: Option<String>,
}

/// Why a VIOS's storage side does not start. Fault: the operator's, but for the last.
#[derive(Debug, thiserror::Error)]
pub enum DsaError {
    /// A setting is out of its range.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// An adapter has no name that an actor can have.
    #[error("physical adapter {name:?}: {source}")]
    Name {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ActorNameError,
    },
    /// An actor does not start, for one that two adapters have one name.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The number of an adapter, by its place among those of its VIOS.
pub(crate) fn numbered<T>(
    all: impl IntoIterator<Item = T>,
) -> impl Iterator<Item = (AdapterId, T)> {
    (0..=u8::MAX).map(AdapterId).zip(all)
}

/// What stands behind an adapter's fabric endpoint.
pub type AdapterEnd = FabricEnd<Redirect, CarriedWord, PhysicalAdapter>;

/// Starts the DSA of a VIOS with these adapters, 256 at most, beside its redirect actor.
///
/// # Errors
/// [`DsaError`]; what was started until then runs.
pub async fn start(
    node: &Node,
    redirect: &LocalRef<Redirect>,
    limits: DsaLimits,
    adapters: &[Adapter],
) -> Result<LocalRef<Dsa>, DsaError> {
    let mut dsa = Some(Dsa::new(limits, redirect.clone(), adapters)?);
    let dsa = node.actor(move || dsa.take().expect("it is made once")).beside(redirect);
    let dsa = dsa.restart(RestartPolicy::never()).named(name_of(DSA_NAME, DSA_NAME)?);
    let dsa = dsa.accept::<Paths>(Access::nodes().or(Access::tools()));
    let dsa = dsa.accept::<FailPath>(Access::tools()).accept::<RestorePath>(Access::tools());
    Ok(dsa.start().await?.now().ok_or(StartError::Closing)?)
}

/// Starts the physical adapters of a fabric. Gives for each, in order, what makes its end of the
/// fabric: an endpoint is made with that, on the same worker, and connected to the storage.
///
/// # Errors
/// [`DsaError`]; what was started until then runs.
pub async fn start_adapters(
    node: &Node,
    redirect: &LocalRef<Redirect>,
    dsa: &LocalRef<Dsa>,
    adapters: &[Adapter],
) -> Result<Vec<impl FnOnce() -> AdapterEnd + Send + use<>>, DsaError> {
    let mut ends = Vec::with_capacity(adapters.len());
    for (id, Adapter { name, .. }) in numbered(adapters) {
        let mut adapter = Some(PhysicalAdapter::new(id, redirect.clone(), dsa.clone()));
        let actor = node.actor(move || adapter.take().expect("it is made once")).beside(redirect);
        let actor = actor.restart(RestartPolicy::never());
        let actor = actor.named(name_of(name, &format!("{ADAPTER_NAMES}{name}"))?);
        let actor = actor.start().await?.now().ok_or(StartError::Closing)?;
        let redirect = redirect.clone();
        ends.push(move || FabricEnd::new(id.0, redirect, actor));
    }
    Ok(ends)
}

fn name_of(adapter: &str, name: &str) -> Result<ActorName, DsaError> {
    let name_error = |source| DsaError::Name { name: adapter.to_owned(), source };
    ActorName::new(name).map_err(name_error)
}
