//! Rows that are used by one life of a replica, and only while they are sound.
//!
//! The consensus library's tasks may outlive the life that they were started in by a moment. What
//! they still have is closed before the next life reads a row, so that none is written by two. And
//! after damage nothing is read or written any more, whoever asks.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Change, Replacement, Row, ShardState, View};
use crate::StoreError;

/// What keeps a replica from going on with what its node has stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Its rows are not what was written. Others' may be.
    #[error(transparent)]
    Rows(StoreError),
    /// The store takes no writes any more, of no shard.
    #[error("the rows can't be written: {0}")]
    Store(StoreError),
}

/// The first trouble of a replica, over all its lives. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Troubles(watch::Sender<Option<Trouble>>);

impl Default for Troubles {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Troubles {
    pub(crate) fn first(&self) -> Option<Trouble> {
        self.0.borrow().clone()
    }

    /// Waits for one. Cancel-safe.
    pub(crate) async fn come(&self) {
        let mut seen = self.0.subscribe();
        // Never fails: the sender is here.
        drop(seen.wait_for(Option::is_some).await);
    }

    fn note(&self, trouble: Trouble) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(trouble);
            is_first
        });
    }
}

/// Keeps a life's tasks from the rows once it is over. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    is_open: Arc<RwLock<bool>>,
    troubles: Troubles,
}

impl Fence {
    pub(crate) fn new(troubles: Troubles) -> Self {
        Self { is_open: Arc::new(RwLock::new(true)), troubles }
    }

    /// Waits for the calls that are under way; all later ones are refused.
    pub(crate) fn close(&self) {
        *self.is_open.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn pass<T>(
        &self,
        trouble: impl FnOnce(&StoreError) -> Option<Trouble>,
        call: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let is_open = self.is_open.read().unwrap_or_else(PoisonError::into_inner);
        if !*is_open || self.troubles.0.borrow().is_some() {
            return Err(StoreError::Stopped);
        }
        let done = call();
        drop(is_open);
        if let Some(trouble) = done.as_ref().err().and_then(trouble) {
            self.troubles.note(trouble);
        }
        done
    }

    fn read<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.pass(damage, call)
    }

    fn write<T>(&self, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.pass(|error| Some(Trouble::Store(error.clone())), call)
    }
}

fn damage(error: &StoreError) -> Option<Trouble> {
    matches!(error, StoreError::Damaged { .. }).then(|| Trouble::Rows(error.clone()))
}

/// The rows of one shard, for one life of its replica.
#[derive(Clone, Debug)]
pub struct Fenced<S> {
    rows: S,
    fence: Fence,
}

impl<S> Fenced<S> {
    pub(crate) fn new(rows: S, fence: Fence) -> Self {
        Self { rows, fence }
    }
}

impl<S: ShardState> ShardState for Fenced<S> {
    type View = FencedView<S::View>;
    type Replacement = FencedReplacement<S::Replacement>;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.fence.read(|| self.rows.get(key))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        rows: usize,
        bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.fence.read(|| self.rows.scan(from, to, rows, bytes))
    }

    fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.fence.write(|| self.rows.write(changes))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.fence.write(|| self.rows.flush())
    }

    fn view(&self) -> Result<Self::View, StoreError> {
        let view = self.fence.read(|| self.rows.view())?;
        Ok(FencedView { view, fence: self.fence.clone() })
    }

    fn replacement(&self) -> Result<Self::Replacement, StoreError> {
        let rows = self.fence.read(|| self.rows.replacement())?;
        Ok(FencedReplacement { rows, fence: self.fence.clone() })
    }
}

/// The rows at one moment.
pub struct FencedView<V> {
    view: V,
    fence: Fence,
}

impl<V: View> View for FencedView<V> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.fence.read(|| self.view.get(key))
    }

    fn next(&mut self, bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.fence.read(|| self.view.next(bytes))
    }
}

/// Rows on their way to replace others.
pub struct FencedReplacement<R> {
    rows: R,
    fence: Fence,
}

impl<R: Replacement> Replacement for FencedReplacement<R> {
    fn put(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.fence.read(|| self.rows.put(rows))
    }

    fn commit(self) -> Result<(), StoreError> {
        self.fence.write(|| self.rows.commit())
    }
}

impl<V: fmt::Debug> fmt::Debug for FencedView<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(f)
    }
}

impl<R: fmt::Debug> fmt::Debug for FencedReplacement<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Fence, Fenced, Trouble, Troubles};
    use crate::state::{Change, MemoryShard, Replacement, ShardState, View};
    use crate::{ShardId, StoreError};

    fn put(value: &'static str) -> Vec<Change> {
        vec![Change::Put(Bytes::from_static(b"key"), Bytes::from_static(value.as_bytes()))]
    }

    fn life(rows: &MemoryShard, troubles: &Troubles) -> (Fence, Fenced<MemoryShard>) {
        let fence = Fence::new(troubles.clone());
        (fence.clone(), Fenced::new(rows.clone(), fence))
    }

    #[test]
    fn a_life_that_is_over_changes_and_reads_nothing_of_the_next_ones_rows() {
        let (rows, troubles) = (MemoryShard::default(), Troubles::default());
        let (fence, old) = life(&rows, &troubles);
        old.write(put("old")).unwrap();
        let (mut view, replacement) = (old.view().unwrap(), old.replacement().unwrap());
        fence.close();
        let (_fence, new) = life(&rows, &troubles);
        new.write(put("new")).unwrap();
        assert_eq!(old.write(put("late")), Err(StoreError::Stopped));
        assert_eq!(old.get(b"key"), Err(StoreError::Stopped));
        assert_eq!(view.next(100), Err(StoreError::Stopped));
        assert_eq!(replacement.commit(), Err(StoreError::Stopped));
        assert_eq!(new.get(b"key"), Ok(Some(Bytes::from_static(b"new"))));
        assert_eq!(troubles.first(), None);
    }

    #[test]
    fn after_damage_nothing_is_read_and_the_first_trouble_stays() {
        let (rows, troubles) = (MemoryShard::default(), Troubles::default());
        let (fence, fenced) = life(&rows, &troubles);
        let damaged = StoreError::Damaged { what: ShardId(1).to_string() };
        assert_eq!(fence.read(|| Err::<(), _>(damaged.clone())), Err(damaged.clone()));
        assert_eq!(fenced.get(b"key"), Err(StoreError::Stopped));
        assert_eq!(fenced.write(put("late")), Err(StoreError::Stopped));
        assert_eq!(troubles.first(), Some(Trouble::Rows(damaged)));
    }

    #[test]
    fn a_read_that_failed_without_damage_may_be_tried_again_a_write_may_not() {
        let (rows, troubles) = (MemoryShard::default(), Troubles::default());
        let (fence, fenced) = life(&rows, &troubles);
        let failed = StoreError::Failed { what: "it".into(), why: "so".into() };
        assert_eq!(fence.read(|| Err::<(), _>(failed.clone())), Err(failed.clone()));
        assert_eq!(fenced.get(b"key"), Ok(None));
        assert_eq!(fence.write(|| Err::<(), _>(failed.clone())), Err(failed.clone()));
        assert_eq!(troubles.first(), Some(Trouble::Store(failed)));
    }
}
