//! What can be read of a shard.

use bytes::{BufMut, Bytes};

use crate::command::{KEY_BYTES_MAX, PARTS_MAX, Place, TableId};
use crate::encoding::{DecodeError, Reader, put_bytes};

/// Most rows of one answer.
pub const ROWS_MAX: usize = 1 << 16;
/// Bytes of rows after which an answer takes no more.
pub const ANSWER_BYTES: usize = 4 << 20;

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// These rows, [`PARTS_MAX`] at most, as they are at one moment.
    Get(Vec<Place>),
    /// The rows of a table in order of their keys.
    Scan {
        /// Which table.
        table: TableId,
        /// The first key that is meant.
        from: Bytes,
        /// The first that is not; without it, all behind `from`.
        to: Option<Bytes>,
        /// Most rows of the answer, 1 to [`ROWS_MAX`].
        limit: u32,
    },
}

impl Query {
    /// The tables that it looks at.
    pub fn tables(&self) -> impl Iterator<Item = TableId> {
        match self {
            Self::Get(places) => places.iter().map(|place| place.table).collect::<Vec<_>>(),
            Self::Scan { table, .. } => vec![*table],
        }
        .into_iter()
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Get(places) => {
                out.put_u8(1);
                out.put_u32_le(u32::try_from(places.len()).expect("places fit in memory"));
                for place in places {
                    out.put_u16_le(place.table.0);
                    put_bytes(&mut out, &place.key);
                }
            }
            Self::Scan { table, from, to, limit } => {
                out.put_u8(2);
                out.put_u16_le(table.0);
                put_bytes(&mut out, from);
                out.put_u8(u8::from(to.is_some()));
                if let Some(to) = to {
                    put_bytes(&mut out, to);
                }
                out.put_u32_le(*limit);
            }
        }
        out.into()
    }

    /// Reads a query that takes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; also for what is past the bounds.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let query = match from.u8()? {
            1 => {
                let count = from.count("rows", PARTS_MAX)?;
                let place = |_| Ok(Place { table: TableId(from.u16()?), key: key(&mut from)? });
                Self::Get((0..count).map(place).collect::<Result<_, DecodeError>>()?)
            }
            2 => {
                let table = TableId(from.u16()?);
                let start = key(&mut from)?;
                let to = from.flag("an end")?.then(|| key(&mut from)).transpose()?;
                let limit = from.u32()?;
                if limit == 0 || limit as usize > ROWS_MAX {
                    let (count, bound) = (limit as usize, ROWS_MAX);
                    return Err(DecodeError::TooMany { what: "rows", count, bound });
                }
                Self::Scan { table, from: start, to, limit }
            }
            number => return Err(DecodeError::Unknown { what: "query", number: number.into() }),
        };
        from.end()?;
        Ok(query)
    }
}

fn key(from: &mut Reader) -> Result<Bytes, DecodeError> {
    let key = from.bytes()?;
    match key.len() {
        0..=KEY_BYTES_MAX => Ok(key),
        count => {
            let bound = KEY_BYTES_MAX;
            Err(DecodeError::TooMany { what: "bytes of a key", count, bound })
        }
    }
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRow {
    /// Its key.
    pub key: Bytes,
    /// The revision that wrote it last.
    pub revision: u64,
    /// Its value.
    pub value: Bytes,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The shard's revision that was looked at: all up to it is in the answer.
    pub revision: u64,
    /// The rows that are there, in the order of the query.
    pub rows: Vec<FoundRow>,
    /// Whether there are more behind them.
    pub is_cut: bool,
}

impl Rows {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let bytes = self.rows.iter().map(|row| 16 + row.key.len() + row.value.len());
        let mut out = Vec::with_capacity(13 + bytes.sum::<usize>());
        out.put_u64_le(self.revision);
        out.put_u8(u8::from(self.is_cut));
        for row in &self.rows {
            put_bytes(&mut out, &row.key);
            out.put_u64_le(row.revision);
            put_bytes(&mut out, &row.value);
        }
        out.into()
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let (revision, is_cut) = (from.u64()?, from.flag("an end")?);
        let mut rows = Vec::new();
        while !from.is_empty() {
            let key = from.bytes()?;
            rows.push(FoundRow { key, revision: from.u64()?, value: from.bytes()? });
        }
        Ok(Self { revision, rows, is_cut })
    }
}
