//! A scan of one table over all cells of the shard, in slices, so that no turn of the
//! loop is long.

use std::ops::Bound;

use base::Cell;
use bytes::Bytes;
use storage::{Kv, KvError, Pairs, Scan};

use base::CellRange;

/// Cells looked at in one slice; most have nothing.
const CELLS_PER_SLICE: usize = 128;
/// Rows returned by one slice.
const ROWS_PER_SLICE: usize = 256;

pub(super) struct CellScan {
    next_cell: u16,
    end_cell: u16,
    /// The last key seen in `next_cell`.
    after: Option<Bytes>,
}

impl CellScan {
    pub(super) fn new(cells: CellRange) -> Self {
        Self { next_cell: cells.start, end_cell: cells.end, after: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next_cell >= self.end_cell
    }

    /// The next rows. `range` gives the keys of a cell: from, and up to but without.
    pub(super) fn slice(&mut self, kv: &dyn Kv, range: impl Fn(Cell) -> (Vec<u8>, Vec<u8>)) -> Result<Pairs, KvError> {
        let mut rows = Pairs::new();
        for _ in 0..CELLS_PER_SLICE {
            let Some(cell) = (!self.is_done()).then(|| Cell::new(self.next_cell)).flatten() else { break };
            let limit = ROWS_PER_SLICE - rows.len();
            let (start, end) = range(cell);
            let mut scan = Scan::range(start, end, limit);
            if let Some(after) = self.after.take() {
                scan.start = Bound::Excluded(after);
            }
            let page = kv.scan(&scan)?;
            let is_full = page.len() == limit;
            let last = page.last().map(|(key, _)| key.clone());
            rows.extend(page);
            if is_full {
                self.after = last;
                break;
            }
            self.next_cell += 1;
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use storage::{Batch, MemoryKv};

    use super::*;

    #[test]
    fn slices_give_every_row_of_the_cells_once() {
        let kv = MemoryKv::new();
        let mut batch = Batch::default();
        let mut expected = Vec::new();
        for cell in 0..300_u16 {
            for row in 0..if cell == 7 { 1000_u16 } else { 2 } {
                let key = [cell.to_be_bytes(), row.to_be_bytes()].concat();
                batch.put(key.clone(), Bytes::new());
                if (5..200).contains(&cell) {
                    expected.push(key);
                }
            }
        }
        kv.write(batch).unwrap();
        let mut scan = CellScan::new(CellRange { start: 5, end: 200 });
        let mut seen = Vec::new();
        while !scan.is_done() {
            let range = |cell: Cell| (cell.to_be_bytes().to_vec(), (cell.index() + 1).to_be_bytes().to_vec());
            seen.extend(scan.slice(&kv, range).unwrap().into_iter().map(|(key, _)| key.to_vec()));
        }
        assert_eq!(seen, expected);
    }
}
