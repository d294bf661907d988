//! What a node tells of its view of the cluster, whether the database is there or not.

use actix::{Handler, Message, MessageResponse};
use serde::{Deserialize, Serialize};
use vioduct_db::command::{KEY_BYTES_MAX, Place, TableId};
use vioduct_db::query::FoundRow;
use vioduct_runtime::{Accepts, RemoteMessage, Wire};

use super::cm::{Cm, CmDesk};
use super::view::{View, Written};

/// Bytes of rows after which an answer takes no more: a link carries some 64 KiB beside a body.
const PART_BYTES: usize = 32 << 10;
/// A row of more bytes is told to nobody: it is none that this program has written.
const ROW_BYTES_MAX: usize = 16 << 10;

/// Tables that are asked for at once.
const TABLES_MAX: usize = 64;

impl Accepts<AskView> for CmDesk {}

/// Asks for the rows of these tables that the node knows: all of them, or those behind the last one
/// of the answer before.
#[derive(Debug, Clone, Default, Message, RemoteMessage, Serialize, Deserialize)]
#[rtype(result = "KnownRows")]
#[remote(name = "cm.AskView", version = 2)]
pub struct AskView {
    /// The tables, 64 at most; nothing is known of those that nodes don't follow.
    pub tables: Vec<u16>,
    /// A row's table and key.
    pub behind: Option<(u16, Vec<u8>)>,
}

/// Rows as the database had them, in order of their tables and keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, MessageResponse, Wire, Serialize, Deserialize)]
pub struct KnownRows {
    /// The revision of what the node knows; none before it knows anything.
    pub revision: Option<u64>,
    /// Some 32 KiB of them at most.
    pub rows: Vec<KnownRow>,
    /// There are more.
    pub is_cut: bool,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Wire, Serialize, Deserialize)]
pub struct KnownRow {
    /// Its table.
    pub table: u16,
    /// Its key.
    pub key: Vec<u8>,
    /// The revision at which it was written last.
    pub revision: u64,
    /// Its value.
    pub value: Vec<u8>,
}

impl KnownRows {
    /// What to ask for next, if there are more.
    #[must_use]
    pub fn next(&self, tables: &[u16]) -> Option<AskView> {
        let last = self.rows.last().filter(|_last| self.is_cut)?;
        Some(AskView { tables: tables.to_vec(), behind: Some((last.table, last.key.clone())) })
    }
}

impl View {
    fn part(&self, AskView { tables, behind }: AskView) -> KnownRows {
        let behind = behind.filter(|(_table, key)| key.len() <= KEY_BYTES_MAX);
        let mut known = KnownRows { revision: Some(self.revision), ..KnownRows::default() };
        let mut bytes = 0;
        for (table, key, Written { revision, value }) in self.behind(behind) {
            let row_bytes = key.len() + value.len();
            if !tables.contains(&table) || row_bytes > ROW_BYTES_MAX {
                continue;
            }
            if bytes >= PART_BYTES {
                known.is_cut = true;
                break;
            }
            bytes += row_bytes;
            let (key, value, revision) = (key.to_vec(), value.to_vec(), *revision);
            known.rows.push(KnownRow { table, key, revision, value });
        }
        known
    }

    /// Takes in what a node knows. Of two answers the older one's revision counts.
    pub fn take(&mut self, known: KnownRows) {
        let revision = known.revision.unwrap_or(0);
        self.revision = if self.len() == 0 { revision } else { self.revision.min(revision) };
        for KnownRow { table, key, revision, value } in known.rows {
            let place = Place { table: TableId(table), key: key.into() };
            self.set(FoundRow { place, revision, value: value.into() });
        }
    }
}

impl Handler<AskView> for Cm {
    type Result = KnownRows;

    fn handle(&mut self, ask: AskView, _ctx: &mut Self::Context) -> KnownRows {
        let view = self.view().filter(|_view| ask.tables.len() <= TABLES_MAX);
        view.map(|view| view.part(ask)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use vioduct_runtime::Codec;

    use super::*;
    use crate::cluster::row::{PrimaryRow, Row, ThePrimary, ViosRow};

    #[test]
    fn a_view_is_told_in_parts_and_put_together_again() {
        let mut view = View::default();
        view.take(KnownRows { revision: Some(7), ..KnownRows::default() });
        let primary = PrimaryRow { node: "v1".into(), number: 1 };
        let set = |view: &mut View, place, value| {
            view.set(FoundRow { place, revision: 7, value });
        };
        set(&mut view, PrimaryRow::place(&ThePrimary), primary.encode());
        for number in 0..10_000 {
            let place = ViosRow::place(&format!("v{number}-{}", "x".repeat(50)).parse().unwrap());
            set(&mut view, place, ViosRow { number, registered: None }.encode());
        }
        let tables = [ViosRow::TABLE.0];
        let (mut told, mut parts) = (View::default(), 0);
        let mut ask = Some(AskView { tables: tables.to_vec(), behind: None });
        while let Some(asked) = ask {
            let part = view.part(asked);
            // As much as a link carries beside a body.
            let mut bytes = Vec::new();
            Codec::Bincode.encode(&part, &mut bytes).unwrap();
            assert!(bytes.len() < 60 << 10, "{}", bytes.len());
            ask = part.next(&tables);
            told.take(part);
            parts += 1;
        }
        assert_eq!((told.revision, parts > 10), (7, true));
        assert_eq!(told.all::<ViosRow>().count(), 10_000);
        assert!(told.written::<ViosRow>().eq(view.written::<ViosRow>()));
        assert_eq!(told.get::<PrimaryRow>(&ThePrimary), None);
    }
}
