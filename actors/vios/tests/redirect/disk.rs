//! A volume with a volatile cache, and what is stored beside it.

use std::collections::BTreeMap;

use bytes::Bytes;
use vioduct_vios::block::{Reply, Request};
use vioduct_vios::redirect::name::{Identity, LuId};
use vioduct_vios::redirect::store::Record;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    pub(crate) durable: u8,
    pub(crate) cache: u8,
    /// A flush would write it out. After a failed one it is not, though the two differ.
    is_dirty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) cells: Vec<Cell>,
    pub(crate) records: BTreeMap<LuId, Record>,
    pub(crate) identity: Identity,
    /// In memory that outlives the storage's process: a sync may be under way.
    pub(crate) is_syncing: bool,
}

impl Disk {
    pub(crate) fn new(cells: usize, records: BTreeMap<LuId, Record>, identity: Identity) -> Self {
        Self { cells: vec![Cell::default(); cells], records, identity, is_syncing: false }
    }

    fn range(&mut self, request: &Request) -> &mut [Cell] {
        let extent = request.extent().unwrap();
        let start = usize::try_from(extent.offset).unwrap();
        &mut self.cells[start..start + extent.length as usize]
    }

    pub(crate) fn perform_any(&mut self, request: &Request) -> Reply {
        if *request == Request::Flush { Reply::Done } else { self.perform(request) }
    }

    fn perform(&mut self, request: &Request) -> Reply {
        let is_fua = request.is_fua();
        let set = |cell: &mut Cell, value: u8| {
            let durable = if is_fua { value } else { cell.durable };
            *cell = Cell { durable, cache: value, is_dirty: !is_fua };
        };
        let range = self.range(request);
        match request {
            Request::Read { .. } => {
                return Reply::Data(range.iter().map(|cell| cell.cache).collect::<Bytes>());
            }
            Request::Write { data, .. } => {
                for (cell, value) in range.iter_mut().zip(data) {
                    set(cell, *value);
                }
            }
            Request::Trim { .. } | Request::WriteZeroes { .. } => {
                range.iter_mut().for_each(|cell| set(cell, 0));
            }
            Request::Status { .. } | Request::Flush => {}
        }
        Reply::Done
    }

    pub(crate) fn flush(&mut self) {
        for cell in &mut self.cells {
            if std::mem::take(&mut cell.is_dirty) {
                cell.durable = cell.cache;
            }
        }
    }

    /// The kernel counts its pages as clean, though they never reached the medium.
    pub(crate) fn fail_flush(&mut self) {
        self.cells.iter_mut().for_each(|cell| cell.is_dirty = false);
    }

    /// Pages that count as clean leave the cache.
    pub(crate) fn evict(&mut self) {
        for cell in 0..self.cells.len() {
            self.evict_cell(cell);
        }
    }

    /// Whether the cell shows something else afterwards.
    pub(crate) fn evict_cell(&mut self, cell: usize) -> bool {
        let cell = &mut self.cells[cell];
        let differs = !cell.is_dirty && cell.cache != cell.durable;
        if differs {
            cell.cache = cell.durable;
        }
        differs
    }

    /// The host loses its power. Of what was not flushed the cells of `kept` had been written out.
    pub(crate) fn cut_power(&mut self, kept: u8) {
        for (index, cell) in self.cells.iter_mut().enumerate() {
            if cell.is_dirty && kept & (1 << index.min(7)) != 0 {
                cell.durable = cell.cache;
            }
            cell.cache = cell.durable;
            cell.is_dirty = false;
        }
        self.identity.boot += 1;
        self.is_syncing = false;
    }

    pub(crate) fn is_all_durable(&self) -> bool {
        self.cells.iter().all(|cell| cell.durable == cell.cache)
    }
}
