//! Which rows are a shard's.
//!
//! The rows of generation 3 of shard 7 are in the family `s7.3`; the default family says that 3 is
//! the current one. Rows that are to replace others are a generation of their own until the default
//! family names it. What it does not name is left over from a replacement or a removal that did not
//! end, and goes at the next start.
//!
//! | default family | key | value |
//! |---|---|---|
//! | current generation | shard, u32 big endian | u64 big endian |

use std::fmt;

use rocksdb::{IteratorMode, WriteBatch};

use super::without_wal;
use crate::rocks::{Db, failed};
use crate::{ShardId, StoreError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    shard: ShardId,
    number: u64,
}

impl Generation {
    pub(super) fn first(shard: ShardId) -> Self {
        Self { shard, number: 1 }
    }

    pub(super) fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }
}

/// The name of its family.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}.{}", self.shard.0, self.number)
    }
}

/// The current generation of a shard that is there.
pub(super) fn current(db: &Db, shard: ShardId) -> Result<Option<Generation>, StoreError> {
    let found = db
        .get_pinned(shard.0.to_be_bytes())
        .map_err(|error| failed("reading the generation of a shard", &error))?;
    found.map(|number| decode(&shard.0.to_be_bytes(), &number)).transpose()
}

/// Makes `generation` the current one; it is when this returns, whatever happens then.
pub(super) fn switch(db: &Db, generation: Generation) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    batch.put(generation.shard.0.to_be_bytes(), generation.number.to_be_bytes());
    write(db, batch)
}

/// Takes away what says which generation of a shard is current.
pub(super) fn remove(db: &Db, shard: ShardId) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    batch.delete(shard.0.to_be_bytes());
    write(db, batch)
}

/// Of these families, those that are no shard's rows.
pub(super) fn left_over(db: &Db, families: &[String]) -> Result<Vec<String>, StoreError> {
    let mut left: Vec<_> = families.iter().filter(|name| *name != "default").cloned().collect();
    for row in db.iterator(IteratorMode::Start) {
        let (key, value) = row.map_err(|error| failed("reading the generations", &error))?;
        let name = decode(&key, &value)?.to_string();
        let there = left.len();
        left.retain(|family| *family != name);
        if left.len() == there {
            return Err(StoreError::Damaged {
                what: format!("family {name}, which is not there,"),
            });
        }
    }
    Ok(left)
}

fn write(db: &Db, batch: WriteBatch) -> Result<(), StoreError> {
    let what = "noting the generation of a shard";
    db.write_opt(batch, &without_wal()).map_err(|error| failed(what, &error))?;
    db.flush().map_err(|error| failed(what, &error))
}

fn decode(key: &[u8], value: &[u8]) -> Result<Generation, StoreError> {
    let shard = <[u8; 4]>::try_from(key).map(u32::from_be_bytes);
    let number = <[u8; 8]>::try_from(value).map(u64::from_be_bytes);
    match (shard, number) {
        (Ok(shard), Ok(number)) => Ok(Generation { shard: ShardId(shard), number }),
        _ => Err(StoreError::Damaged { what: "the generation of a shard".into() }),
    }
}
