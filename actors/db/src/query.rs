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
    /// The rows of these ranges, [`PARTS_MAX`] at most, one range after the other, as they are at
    /// one moment.
    Scan {
        /// Which rows.
        ranges: Vec<Range>,
        /// Most rows of the answer, 1 to [`ROWS_MAX`].
        limit: u32,
    },
}

/// Rows of a table in order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which table.
    pub table: TableId,
    /// The first key that is meant.
    pub from: Bytes,
    /// The first that is not; without it, all behind `from`.
    pub to: Option<Bytes>,
}

impl Range {
    /// All rows of a table.
    #[must_use]
    pub const fn all(table: TableId) -> Self {
        Self { table, from: Bytes::new(), to: None }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Self { table, from, to } = self;
        out.put_u16_le(table.0);
        put_bytes(out, from);
        out.put_u8(u8::from(to.is_some()));
        if let Some(to) = to {
            put_bytes(out, to);
        }
    }

    fn decode(from: &mut Reader) -> Result<Self, DecodeError> {
        let Place { table, key: start } = place(from)?;
        let to = from.flag("an end")?.then(|| key(from)).transpose()?;
        Ok(Self { table, from: start, to })
    }
}

impl Query {
    /// The tables that it looks at.
    pub fn tables(&self) -> impl Iterator<Item = TableId> {
        let (places, ranges) = match self {
            Self::Get(places) => (places.as_slice(), &[][..]),
            Self::Scan { ranges, .. } => (&[][..], ranges.as_slice()),
        };
        let of_places = places.iter().map(|place| place.table);
        of_places.chain(ranges.iter().map(|range| range.table))
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Get(places) => {
                out.put_u8(1);
                put_count(&mut out, places.len());
                places.iter().for_each(|place| put_place(&mut out, place));
            }
            Self::Scan { ranges, limit } => {
                out.put_u8(2);
                put_count(&mut out, ranges.len());
                ranges.iter().for_each(|range| range.encode(&mut out));
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
                let places = (0..count).map(|_| place(&mut from));
                Self::Get(places.collect::<Result<_, _>>()?)
            }
            2 => {
                let count = from.count("ranges", PARTS_MAX)?;
                let ranges = (0..count).map(|_| Range::decode(&mut from));
                let ranges = ranges.collect::<Result<_, _>>()?;
                let limit = from.u32()?;
                if limit == 0 || limit as usize > ROWS_MAX {
                    let (count, bound) = (limit as usize, ROWS_MAX);
                    return Err(DecodeError::TooMany { what: "rows", count, bound });
                }
                Self::Scan { ranges, limit }
            }
            number => return Err(DecodeError::Unknown { what: "query", number: number.into() }),
        };
        from.end()?;
        Ok(query)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("what is asked for fits in memory"));
}

fn put_place(out: &mut Vec<u8>, Place { table, key }: &Place) {
    out.put_u16_le(table.0);
    put_bytes(out, key);
}

fn place(from: &mut Reader) -> Result<Place, DecodeError> {
    Ok(Place { table: TableId(from.u16()?), key: key(from)? })
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
    /// Where it is.
    pub place: Place,
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
        let bytes = self.rows.iter().map(|row| 18 + row.place.key.len() + row.value.len());
        let mut out = Vec::with_capacity(13 + bytes.sum::<usize>());
        out.put_u64_le(self.revision);
        out.put_u8(u8::from(self.is_cut));
        for row in &self.rows {
            put_place(&mut out, &row.place);
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
            let place = place(&mut from)?;
            rows.push(FoundRow { place, revision: from.u64()?, value: from.bytes()? });
        }
        Ok(Self { revision, rows, is_cut })
    }
}
