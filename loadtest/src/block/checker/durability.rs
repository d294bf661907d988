//! What is on stable media, as far as the disk has said so.

use super::{Span, Version};

/// The newest write of each block that no power cut may take.
///
/// Bound: what is acknowledged and not flushed is noted once for each block, or, in between,
/// [`LOG_PER_BLOCK`] times.
#[derive(Debug)]
pub(super) struct Durability {
    stable: Vec<Version>,
    /// Acknowledged since the last flush was sent.
    log: Log,
    /// What the flush under way covers.
    flushing: Option<Log>,
}

type Log = Vec<(u32, Version)>;

/// Notes for each block at which the older ones are left out.
const LOG_PER_BLOCK: usize = 4;

impl Durability {
    pub(super) fn new(blocks: usize) -> Self {
        let stable = vec![Version::default(); blocks];
        Self { stable, log: Log::new(), flushing: None }
    }

    /// What is left of each block after a power cut, at least.
    pub(super) fn stable(&self) -> &[Version] {
        &self.stable
    }

    pub(super) fn acknowledged(&mut self, span: Span, version: Version, is_stable: bool) {
        for at in span.first..span.first.saturating_add(span.count) {
            if is_stable {
                self.note_stable(at, version);
            } else {
                self.log.push((at, version));
            }
        }
        if self.log.len() > self.stable.len().saturating_mul(LOG_PER_BLOCK) {
            // By block, the newest first; the first of each stays.
            self.log.sort_unstable_by_key(|(at, version)| (*at, std::cmp::Reverse(*version)));
            self.log.dedup_by_key(|(at, _version)| *at);
        }
    }

    fn note_stable(&mut self, at: u32, version: Version) {
        if let Some(stable) = self.stable.get_mut(at as usize) {
            *stable = version.max(*stable);
        }
    }

    pub(super) fn begin_flush(&mut self) {
        self.flushing = Some(std::mem::take(&mut self.log));
    }

    pub(super) fn end_flush(&mut self, is_done: bool) {
        let covered = self.flushing.take().unwrap_or_default();
        if is_done {
            for (at, version) in covered {
                self.note_stable(at, version);
            }
        } else {
            self.log.extend(covered);
        }
    }

    /// What was not flushed will not be by a flush that is sent later.
    pub(super) fn power_cut(&mut self) {
        self.log.clear();
        self.flushing = None;
    }
}
