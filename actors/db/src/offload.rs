//! Where work that waits for the disk is done.

use crate::StoreError;

/// Where calls run that take as long as the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// On a thread for such calls, so that nothing else waits.
    Threads,
    /// Where they are made: for stores in memory, under a clock that is simulated.
    Here,
}

impl Offload {
    /// Does the work and gives what it came to.
    ///
    /// Not cancel-safe: work that has begun is finished all the same.
    ///
    /// # Errors
    ///
    /// `Stopped` if the work panicked or the runtime is ending.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Here => Ok(work()),
            Self::Threads => {
                tokio::task::spawn_blocking(work).await.map_err(|_gone| StoreError::Stopped)
            }
        }
    }
}
