//! LUs whose bytes a command copies in or out of the cluster.

use std::fmt;

use serde::{Deserialize, Serialize};
use vioduct_db::command::TableId;

use super::{ClientKey, Row, VtdKey};
use crate::redirect::name::LuId;

/// What a run that copies an LU has made for that, by the LU's number: whoever finds it without its
/// [`RunnerRow`] takes it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferRow {
    /// Which way.
    pub kind: TransferKind,
    /// The lease of its run, which tells it from every other one.
    pub run: u64,
    /// Its client and the VTD that shows the LU to it, once they are made.
    pub shown: Option<(ClientKey, VtdKey)>,
}

/// Which way the bytes of an LU go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferKind {
    /// Into an LU that was made for them, and goes if not all of them come.
    Import,
    /// Out of an LU, which stays.
    Export,
}

impl fmt::Display for TransferKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Import => "import",
            Self::Export => "export",
        })
    }
}

impl Row for TransferRow {
    const WHAT: &'static str = "a transfer's row";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(20);
    type Key = LuId;
}

/// The run of a transfer, by the LU's number: there, under its lease, for as long as it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerRow {
    /// Who runs it, for people.
    pub by: String,
}

impl Row for RunnerRow {
    const WHAT: &'static str = "the row of a transfer's run";
    const VERSION: u8 = 1;
    const TABLE: TableId = TableId(21);
    type Key = LuId;
}
