//! Leases: rows that go when their holder stops saying that it is there.

use std::time::Duration;

use super::error::DbError;
use super::shard::Shard;
use crate::ShardId;
use crate::command::{Answer, Operation};

/// A lease of one shard. It is not ended when this is dropped, but by time.
#[derive(Clone, Debug)]
pub struct Lease {
    shard: Shard,
    number: u64,
}

impl Lease {
    pub(super) async fn grant(shard: Shard, ttl: Duration) -> Result<Self, DbError> {
        let ttl_ms = u32::try_from(ttl.as_millis()).map_err(|_too_long| DbError::Invalid {
            why: format!("a lease of {} s is longer than 49 days", ttl.as_secs()),
        })?;
        match shard.perform(Operation::Grant { ttl_ms }).await? {
            Answer::Granted { lease } => Ok(Self { shard, number: lease }),
            Answer::TooManyLeases => Err(DbError::TooManyLeases),
            _other => Err(DbError::Unexpected),
        }
    }

    pub(super) fn of(shard: Shard, number: u64) -> Self {
        Self { shard, number }
    }

    /// Of which shard it is: its rows are of that one.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard.id()
    }

    /// Its number in its shard.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Lets it last for its whole time from now on: after `Ok`, counted from the call.
    ///
    /// # Errors
    ///
    /// [`DbError`]: `NoLease` if it has ended, or is about to.
    pub async fn keep_alive(&self) -> Result<(), DbError> {
        match self.shard.keep_alive(self.number).await? {
            Answer::Granted { lease } if lease == self.number => Ok(()),
            Answer::NoLease { lease } => Err(DbError::NoLease { lease }),
            _other => Err(DbError::Unexpected),
        }
    }

    /// Ends it, and takes its rows away.
    ///
    /// # Errors
    ///
    /// [`DbError`]: `NoLease` if it has ended already. After another one rows may be gone or not:
    /// it ends by time.
    pub async fn revoke(&self) -> Result<(), DbError> {
        loop {
            match self.shard.perform(Operation::Revoke { lease: self.number }).await? {
                Answer::Partly { .. } => {}
                Answer::Done { .. } => return Ok(()),
                Answer::NoLease { lease } => return Err(DbError::NoLease { lease }),
                _other => return Err(DbError::Unexpected),
            }
        }
    }
}
