//! A bound on tells under way, for runtimes that queue them without one.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Confirmations that are outstanding at once.
const CONFIRMATIONS_MAX: usize = 4;

/// Asks the server for a confirmation every so many tells, and lets no more than
/// [`CONFIRMATIONS_MAX`] be outstanding.
#[derive(Debug)]
pub(crate) struct TellWindow {
    tells_each: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unconfirmed: u64,
    confirmations: VecDeque<JoinHandle<Result<()>>>,
}

impl TellWindow {
    /// At most about `tells_max` under way.
    pub(crate) fn new(tells_max: u64) -> Self {
        let tells_each = tells_max / CONFIRMATIONS_MAX as u64;
        Self { tells_each, state: Mutex::default() }
    }

    /// Counts tells that were sent, and waits while there are too many. `confirm` comes back when
    /// the server has answered something sent after them.
    pub(crate) async fn sent<F>(&self, tells: u64, confirm: impl FnOnce() -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut state = self.state.lock().await;
        state.unconfirmed += tells;
        if state.unconfirmed < self.tells_each {
            return Ok(());
        }
        state.unconfirmed = 0;
        state.confirmations.push_back(tokio::spawn(confirm()));
        if state.confirmations.len() >= CONFIRMATIONS_MAX
            && let Some(oldest) = state.confirmations.pop_front()
        {
            oldest.await.context("confirmation of tells")??;
        }
        Ok(())
    }
}
