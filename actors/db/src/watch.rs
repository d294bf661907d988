//! What can be watched of a shard, and what is told: which rows changed, not what is in them.

use bytes::{BufMut, Bytes};

use crate::command::TableId;
use crate::encoding::{DecodeError, Reader, put_bytes};
use crate::machine::{Event, decode_events, encode_events};
use crate::schema::{Class, Schema};

/// Tables that a filter may name.
pub const TABLES_MAX: usize = 64;
/// Changes after which an answer takes no more.
pub const CHANGES_MAX: usize = 4096;
/// Bytes of keys after which an answer takes no more.
pub const ANSWER_BYTES: usize = 1 << 20;

/// Which changes are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of these tables, [`TABLES_MAX`] at most; with none named, of all.
    pub tables: Vec<TableId>,
    /// Those of tables of this class; without it, of both.
    pub class: Option<Class>,
    /// Those of keys that begin so.
    pub prefix: Bytes,
}

impl Filter {
    /// All changes of these tables.
    pub fn of(tables: impl Into<Vec<TableId>>) -> Self {
        Self { tables: tables.into(), ..Self::default() }
    }

    /// Whether this change is one of them.
    #[must_use]
    pub fn means(&self, event: &Event, schema: &Schema) -> bool {
        let place = &event.place;
        (self.tables.is_empty() || self.tables.contains(&place.table))
            && self.class.is_none_or(|class| schema.class(place.table) == Some(class))
            && place.key.starts_with(&self.prefix)
    }
}

/// What one revision changed, of what is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The revision.
    pub revision: u64,
    /// The changes, in the order in which they were made.
    pub changes: Vec<Event>,
}

/// What a replica tells one who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All there is up to a revision.
    Changes {
        /// The changes, in order of revisions; none of them is split over two answers.
        notices: Vec<Notice>,
        /// Up to here nothing more will come.
        through: u64,
        /// Whether the replica made sure, after it was asked, that the shard was no further.
        is_current: bool,
    },
    /// What changed since then is not known any more.
    Compacted {
        /// The oldest revision after which it is.
        oldest: u64,
        /// How far the shard is.
        revision: u64,
    },
}

impl Told {
    /// Of these revisions, which are all up to `through`: what the filter means, up to the bounds
    /// of an answer.
    pub(crate) fn pick<'a>(
        filter: &Filter,
        schema: &Schema,
        revisions: impl IntoIterator<Item = (u64, &'a [Event])>,
        through: u64,
    ) -> (Vec<Notice>, u64) {
        let (mut changes, mut bytes) = (0, 0);
        let mut notices: Vec<Notice> = Vec::new();
        for (revision, events) in revisions {
            let meant = events.iter().filter(|event| filter.means(event, schema));
            let meant: Vec<Event> = meant.cloned().collect();
            if meant.is_empty() {
                continue;
            }
            changes += meant.len();
            bytes += meant.iter().map(|event| event.place.key.len()).sum::<usize>();
            if let Some(last) = notices.last()
                && (changes > CHANGES_MAX || bytes > ANSWER_BYTES)
            {
                let through = last.revision;
                return (notices, through);
            }
            notices.push(Notice { revision, changes: meant });
        }
        (notices, through)
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Changes { notices, through, is_current } => {
                out.put_u8(1);
                out.put_u64_le(*through);
                out.put_u8(u8::from(*is_current));
                for Notice { revision, changes } in notices {
                    out.put_u64_le(*revision);
                    put_bytes(&mut out, &encode_events(changes));
                }
            }
            Self::Compacted { oldest, revision } => {
                out.put_u8(2);
                out.put_u64_le(*oldest);
                out.put_u64_le(*revision);
            }
        }
        out.into()
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; also for revisions that are not in order, or past the end that is told.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        match from.u8()? {
            1 => {
                let (through, is_current) = (from.u64()?, from.flag("an end")?);
                let mut notices: Vec<Notice> = Vec::new();
                while !from.is_empty() {
                    let revision = from.u64()?;
                    let is_behind = notices.last().is_none_or(|last| last.revision < revision);
                    if !is_behind || revision > through {
                        return Err(DecodeError::Unknown { what: "revision", number: 0 });
                    }
                    notices.push(Notice { revision, changes: decode_events(from.bytes()?)? });
                }
                Ok(Self::Changes { notices, through, is_current })
            }
            2 => {
                let told = Self::Compacted { oldest: from.u64()?, revision: from.u64()? };
                from.end()?;
                Ok(told)
            }
            number => Err(DecodeError::Unknown { what: "answer", number: number.into() }),
        }
    }
}
