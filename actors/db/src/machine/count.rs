//! Numbers that a shard keeps of itself, by name.

use bytes::Bytes;

use super::damaged;
use super::keys::system_key;
use super::overlay::Overlay;
use crate::StoreError;
use crate::state::ShardState;

/// A number as it stands in its row.
pub(super) fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

/// The number of that name, 0 if there is none.
pub(super) fn read_number<S: ShardState>(
    rows: &mut Overlay<S>,
    name: &str,
) -> Result<u64, StoreError> {
    let Some(found) = rows.get_and_keep(system_key(name))? else { return Ok(0) };
    let found = <[u8; 8]>::try_from(found.as_ref());
    found.map(u64::from_le_bytes).map_err(|why| damaged(name, why))
}
