//! Virtual adapters: by which client uses which VIOS.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_db::command::TableId;

use super::{ClientKey, Key, Row};

/// A client's virtual adapter on a VIOS. There is one once the client has logged in there.
///
/// Source: US 8,726,274, the adapter IDs among the structures of the VIOS database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterRow {
    /// Its vioAdapterID, never that of another one.
    pub number: u32,
    /// The client's ClientID: one that was forgotten and made known again has another.
    pub client: u32,
}

impl Row for AdapterRow {
    const WHAT: &'static str = "a virtual adapter's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(22);
    type Key = AdapterKey;
}

/// Which virtual adapter: there is one for each pair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AdapterKey {
    /// The client.
    pub client: ClientKey,
    /// The number of the VIOS.
    pub vios: u32,
}

impl Key for AdapterKey {
    fn bytes(&self) -> Bytes {
        [&self.vios.to_be_bytes(), self.client.bytes().as_ref()].concat().into()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (vios, client) = bytes.split_first_chunk()?;
        Some(Self { vios: u32::from_be_bytes(*vios), client: ClientKey::read(client)? })
    }
}
