//! Placement: a business id hashes to one of 4096 cells, for ever. Shards own ranges
//! of cells; changing the number of shards never moves an id to another cell.

use xxhash_rust::xxh3::Xxh3;

/// How many cells there are. Part of every persistent key, so it never changes.
pub const CELLS: u16 = 4096;

/// The top 12 bits of the placement hash; the first two bytes of every persistent key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Cell(u16);

impl Cell {
    /// Returns `None` past the last cell.
    #[must_use]
    pub const fn new(index: u16) -> Option<Self> {
        if index < CELLS { Some(Self(index)) } else { None }
    }

    #[must_use]
    pub const fn index(self) -> u16 {
        self.0
    }

    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

/// A contiguous, half-open range of cells: `start <= cell < end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CellRange {
    pub start: u16,
    pub end: u16,
}

impl CellRange {
    /// The `index`-th of `count` equal parts of all cells.
    #[must_use]
    pub fn part(index: u32, count: u32) -> Self {
        assert!(count > 0 && index < count && count <= u32::from(CELLS));
        let cut = |i: u32| u16::try_from(i * u32::from(CELLS) / count).expect("within the cells");
        Self { start: cut(index), end: cut(index + 1) }
    }

    #[must_use]
    pub fn contains(&self, cell: Cell) -> bool {
        (self.start..self.end).contains(&cell.0)
    }

    pub fn cells(&self) -> impl Iterator<Item = Cell> + use<> {
        (self.start..self.end).map(Cell)
    }
}

/// The cell of everything addressed by this business id in this namespace.
#[must_use]
pub fn cell_of(namespace_id: &str, business_id: &str) -> Cell {
    let mut hash = Xxh3::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hash.update(&(namespace_id.len() as u64).to_be_bytes());
    hash.update(namespace_id.as_bytes());
    hash.update(business_id.as_bytes());
    Cell(u16::try_from(hash.digest() >> 52).expect("12 bits fit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fixed_for_ever() {
        // Changing any of these moves existing executions: never edit the numbers.
        assert_eq!(cell_of("ns", "wf").index(), PIN_NS_WF);
        assert_ne!(cell_of("a", "bc"), cell_of("ab", "c"));
    }

    const PIN_NS_WF: u16 = 350;

    #[test]
    fn parts_cover_all_cells_once() {
        for count in [1, 3, 4, 64, 4096] {
            let mut next = 0;
            for index in 0..count {
                let part = CellRange::part(index, count);
                assert_eq!(part.start, next);
                assert!(part.end > part.start);
                next = part.end;
            }
            assert_eq!(next, CELLS);
        }
    }
}
