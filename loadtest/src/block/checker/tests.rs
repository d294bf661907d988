use super::*;

const BLOCK: usize = 2 * SECTOR_BYTES;
const OFFSET: u64 = 8192;
const BLOCKS: u32 = 8;

/// A checker, and a disk that holds whatever a test puts there.
struct Bench {
    checker: Checker,
    disk: Vec<u8>,
}

fn span(first: u32, count: u32) -> Span {
    Span { first, count }
}

fn bytes_of(span: Span) -> std::ops::Range<usize> {
    let first = span.first as usize * BLOCK;
    first..first + span.count as usize * BLOCK
}

impl Bench {
    fn with(reads: Reads, has_power_cuts: bool) -> Self {
        let place = Place { offset: OFFSET, block_bytes: BLOCK, blocks: BLOCKS };
        let checker = Checker::new(Content::new(7), place, reads, has_power_cuts);
        Self { checker, disk: vec![0; BLOCKS as usize * BLOCK] }
    }

    fn new() -> Self {
        Self::with(Reads::Apart, false)
    }

    fn begin(&mut self, span: Span) -> (Writing, Vec<u8>) {
        assert!(self.checker.may_write(span));
        let writing = self.checker.begin_write(span, Change::Data, false);
        let mut data = vec![0; bytes_of(span).len()];
        self.checker.fill(&writing, &mut data);
        (writing, data)
    }

    fn store(&mut self, span: Span, data: &[u8]) {
        self.disk[bytes_of(span)].copy_from_slice(data);
    }

    /// A write that goes well.
    fn write(&mut self, span: Span) -> Vec<u8> {
        let (writing, data) = self.begin(span);
        self.store(span, &data);
        self.checker.end_write(&writing, Ending::Acknowledged);
        data
    }

    /// A write whose answer is lost, and that does not happen now.
    fn lose(&mut self, span: Span, ending: Ending) -> Vec<u8> {
        let (writing, data) = self.begin(span);
        self.checker.end_write(&writing, ending);
        data
    }

    fn change(&mut self, span: Span, change: Change, ending: Ending) {
        let writing = self.checker.begin_write(span, change, false);
        self.checker.end_write(&writing, ending);
    }

    fn end_read(&mut self, reading: Reading, bytes: &[u8]) -> Vec<What> {
        let mut found = Vec::new();
        self.checker.end_read(reading, Some(bytes), |violation| found.push(violation.what));
        found
    }

    /// What a read of what the disk holds now brings to light.
    fn read(&mut self, span: Span) -> Vec<What> {
        assert!(self.checker.may_read(span));
        let reading = self.checker.begin_read(span);
        let bytes = self.disk[bytes_of(span)].to_vec();
        self.end_read(reading, &bytes)
    }

    fn flush(&mut self, is_done: bool) {
        self.checker.begin_flush();
        self.checker.end_flush(is_done);
    }
}

const ONE: Span = Span { first: 1, count: 1 };
const ALL: Span = Span { first: 0, count: BLOCKS };
const NOTHING: Vec<What> = Vec::new();

#[test]
fn a_disk_that_keeps_what_it_acknowledged_is_sound() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(ALL), NOTHING, "all zeroes at first");
    for (first, count) in [(0, 8), (1, 1), (2, 3), (1, 2), (0, 1)] {
        bench.write(span(first, count));
        assert_eq!(bench.read(ALL), NOTHING);
    }
    assert!(bench.checker.rare.is_empty());
}

#[test]
fn a_write_that_was_acknowledged_and_not_made_is_found() {
    let mut bench = Bench::new();
    bench.write(ONE);
    let (writing, _lost) = bench.begin(ONE);
    bench.checker.end_write(&writing, Ending::Acknowledged);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 2 }]);
    assert_eq!(bench.read(span(2, 1)), NOTHING);
}

#[test]
fn a_lost_first_write_leaves_zeroes_and_is_found() {
    let mut bench = Bench::new();
    let (writing, _lost) = bench.begin(ONE);
    bench.checker.end_write(&writing, Ending::Acknowledged);
    assert_eq!(bench.read(ALL), [What::WentBack { found: 0, settled: 1 }]);
}

#[test]
fn a_block_that_goes_back_to_an_older_write_is_found() {
    let mut bench = Bench::new();
    let old = bench.write(ONE);
    bench.write(ONE);
    bench.write(ONE);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &old);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 3 }]);
}

#[test]
fn a_block_of_two_writes_is_found() {
    let mut bench = Bench::new();
    bench.write(ONE);
    let (writing, data) = bench.begin(ONE);
    bench.disk[bytes_of(ONE)][SECTOR_BYTES..].copy_from_slice(&data[SECTOR_BYTES..]);
    bench.checker.end_write(&writing, Ending::Unknown);
    assert_eq!(bench.read(ONE), [What::Torn { one: 1, other: 2 }], "unanswered, but half made");
}

#[test]
fn a_write_of_several_blocks_may_stop_between_two_of_them_unless_acknowledged() {
    let mut bench = Bench::new();
    let three = span(2, 3);
    bench.write(three);
    let data = bench.lose(three, Ending::Unknown);
    bench.store(span(2, 1), &data[..BLOCK]);
    assert_eq!(bench.read(three), NOTHING);
}

#[test]
fn a_block_that_is_a_copy_of_another_is_found() {
    let mut bench = Bench::new();
    bench.write(ALL);
    bench.disk.copy_within(bytes_of(span(3, 1)), bytes_of(ONE).start);
    let from = OFFSET + 3 * BLOCK as u64;
    assert_eq!(bench.read(ALL), [What::Moved { from }]);
}

#[test]
fn spoilt_and_foreign_bytes_are_found_with_their_place() {
    let mut bench = Bench::new();
    bench.write(ALL);
    bench.disk[BLOCK + SECTOR_BYTES + 100] ^= 1;
    let at = OFFSET + (BLOCK + SECTOR_BYTES) as u64;
    assert_eq!(bench.read(ALL), [What::Damaged { at }]);
    Content::new(8).fill(&mut bench.disk[bytes_of(ONE)], OFFSET + BLOCK as u64, 1);
    assert_eq!(bench.read(ALL), [What::Foreign]);
    let reading = bench.checker.begin_read(ONE);
    assert_eq!(bench.end_read(reading, &[]), [What::Damaged { at: OFFSET + BLOCK as u64 }]);
}

#[test]
fn a_write_without_an_answer_may_have_happened_or_not() {
    for happens in [false, true] {
        let mut bench = Bench::new();
        bench.write(ONE);
        let data = bench.lose(ONE, Ending::Unknown);
        if happens {
            bench.store(ONE, &data);
        }
        assert_eq!(bench.read(ONE), NOTHING);
        assert_eq!(bench.read(ONE), NOTHING);
    }
}

#[test]
fn a_write_without_an_answer_may_happen_after_it_was_not_seen() {
    let mut bench = Bench::new();
    bench.write(ONE);
    let data = bench.lose(ONE, Ending::Unknown);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &data);
    assert_eq!(bench.read(ONE), NOTHING);
}

#[test]
fn what_was_once_seen_of_a_write_without_an_answer_is_not_undone() {
    let mut bench = Bench::new();
    let old = bench.write(ONE);
    let data = bench.lose(ONE, Ending::Unknown);
    bench.store(ONE, &data);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &old);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 2 }]);
}

#[test]
fn a_late_write_that_lands_on_a_newer_acknowledged_one_is_found() {
    let mut bench = Bench::new();
    let late = bench.lose(ONE, Ending::Unknown);
    bench.write(ONE);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &late);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 2 }]);
    assert!(bench.checker.rare.is_empty());
}

#[test]
fn a_late_write_that_lands_on_a_newer_one_that_was_read_is_found() {
    let mut bench = Bench::new();
    let late = bench.lose(ONE, Ending::Unknown);
    let newer = bench.lose(ONE, Ending::Unknown);
    bench.store(ONE, &newer);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &late);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 2 }]);
}

#[test]
fn a_write_of_which_nothing_was_sent_must_not_show() {
    let mut bench = Bench::new();
    bench.write(ONE);
    let never = bench.lose(ONE, Ending::NotSent);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &never);
    assert_eq!(bench.read(ONE), [What::NeverWritten { found: 2 }]);
}

#[test]
fn a_read_that_failed_settles_nothing() {
    let mut bench = Bench::new();
    let data = bench.lose(ONE, Ending::Unknown);
    let reading = bench.checker.begin_read(ONE);
    bench.checker.end_read(reading, None, |violation| panic!("{violation}"));
    bench.store(ONE, &data);
    assert_eq!(bench.read(ONE), NOTHING);
}

#[test]
fn blocks_under_way_are_left_alone_unless_reads_may_be_beside_writes() {
    for reads in [Reads::Apart, Reads::Beside] {
        let mut bench = Bench::with(reads, false);
        let is_beside = reads == Reads::Beside;
        let (writing, _data) = bench.begin(span(1, 2));
        assert!(!bench.checker.may_write(span(2, 2)) && bench.checker.may_write(span(3, 1)));
        assert_eq!(bench.checker.may_read(span(0, 2)), is_beside);
        bench.checker.end_write(&writing, Ending::Acknowledged);
        let reading = bench.checker.begin_read(span(1, 2));
        assert!(bench.checker.may_read(ALL), "reads are always beside reads");
        assert_eq!(bench.checker.may_write(span(2, 2)), is_beside);
        bench.checker.end_read(reading, None, |violation| panic!("{violation}"));
        assert!(bench.checker.may_write(ALL));
    }
}

#[test]
fn a_read_beside_a_write_gives_either_and_never_the_older_after_the_newer() {
    let mut bench = Bench::with(Reads::Beside, false);
    let old = bench.write(ONE);
    let (writing, new) = bench.begin(ONE);
    let [early, first, second] = [(); 3].map(|()| bench.checker.begin_read(ONE));
    assert_eq!(bench.end_read(first, &new), NOTHING);
    // Both began before the newer one was seen.
    assert_eq!(bench.end_read(second, &old), NOTHING);
    let after = bench.checker.begin_read(ONE);
    assert_eq!(bench.end_read(after, &old), [What::WentBack { found: 1, settled: 2 }]);
    bench.checker.end_write(&writing, Ending::Acknowledged);
    assert_eq!(bench.end_read(early, &old), NOTHING);
    bench.store(ONE, &new);
    assert_eq!(bench.read(ONE), NOTHING);
}

#[test]
fn a_read_may_give_any_of_the_writes_that_were_made_meanwhile() {
    let mut bench = Bench::with(Reads::Beside, false);
    let before = bench.write(ONE);
    let [one, two, three] = [(); 3].map(|()| bench.checker.begin_read(ONE));
    let meanwhile = [bench.write(ONE), bench.write(ONE)];
    let late = bench.checker.begin_read(ONE);
    for (reading, data) in [(one, &meanwhile[0]), (two, &meanwhile[1]), (three, &before)] {
        assert_eq!(bench.end_read(reading, data), NOTHING);
    }
    assert_eq!(bench.end_read(late, &meanwhile[0]), [What::WentBack { found: 2, settled: 3 }]);
    assert!(bench.checker.rare.is_empty());
}

#[test]
fn zeroes_that_were_written_are_a_write_like_any_other() {
    let mut bench = Bench::new();
    let old = bench.write(ONE);
    bench.change(ONE, Change::Zeroes, Ending::Unknown);
    assert_eq!(bench.read(ONE), NOTHING, "it may not have happened");
    bench.change(ONE, Change::Zeroes, Ending::Acknowledged);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 3 }]);
    bench.store(ONE, &[0; BLOCK]);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.write(ONE);
    bench.store(ONE, &[0; BLOCK]);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 0, settled: 4 }]);
    bench.store(ONE, &old);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 4 }]);
}

#[test]
fn a_trimmed_block_is_zeroes_or_older_but_never_spoilt_and_settled_by_a_write() {
    let mut bench = Bench::new();
    let old = bench.write(ONE);
    bench.write(ONE);
    bench.change(ONE, Change::Trim, Ending::Acknowledged);
    assert_eq!(bench.read(ONE), NOTHING);
    for bytes in [vec![0; BLOCK], old.clone(), vec![0; BLOCK]] {
        bench.store(ONE, &bytes);
        assert_eq!(bench.read(ONE), NOTHING);
    }
    bench.disk[bytes_of(ONE)][5] = 5;
    assert!(matches!(*bench.read(ONE), [What::Damaged { .. }]));
    bench.write(ONE);
    bench.store(ONE, &old);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 4 }]);
}

#[test]
fn a_block_with_too_many_open_writes_is_read_before_it_is_written_again() {
    let mut bench = Bench::new();
    for _ in 0..OPEN_MAX {
        bench.lose(ONE, Ending::Unknown);
    }
    assert!(!bench.checker.may_write(span(0, 2)));
    assert_eq!(bench.read(ONE), NOTHING);
    assert!(!bench.checker.may_write(span(0, 2)), "none of them was seen");
    let last = bench.lose(span(2, 1), Ending::Unknown);
    bench.store(span(2, 1), &last);
    assert!(bench.checker.may_write(span(2, 1)));
}

#[test]
fn a_power_cut_takes_what_was_not_flushed_and_nothing_else() {
    for kept in 1..=3 {
        let mut bench = Bench::with(Reads::Apart, true);
        let flushed = bench.write(ONE);
        bench.flush(true);
        let versions = [flushed, bench.write(ONE), bench.write(ONE)];
        bench.checker.power_cut();
        bench.store(ONE, &versions[kept - 1]);
        assert_eq!(bench.read(ALL), NOTHING, "kept {kept}");
        // From then on it is what it was seen to be.
        let other = if kept == 3 { 1 } else { kept + 1 };
        bench.store(ONE, &versions[other - 1]);
        assert_ne!(bench.read(ONE), NOTHING, "kept {kept}, then {other}");
    }
}

#[test]
fn a_flush_that_covers_nothing_is_found_after_the_power_cut() {
    let mut bench = Bench::with(Reads::Apart, true);
    let old = bench.write(ONE);
    bench.write(ONE);
    bench.flush(true);
    bench.checker.power_cut();
    bench.store(ONE, &old);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 1, settled: 2 }]);
}

#[test]
fn a_flush_covers_what_was_acknowledged_before_it_was_sent_and_only_if_it_is_acknowledged() {
    let mut bench = Bench::with(Reads::Apart, true);
    let first = bench.write(ONE);
    bench.checker.begin_flush();
    let second = bench.write(ONE);
    bench.checker.end_flush(true);
    bench.checker.power_cut();
    bench.store(ONE, &first);
    assert_eq!(bench.read(ONE), NOTHING, "the second came after the flush was sent");
    drop(second);

    let mut bench = Bench::with(Reads::Apart, true);
    bench.write(ONE);
    bench.flush(false);
    bench.flush(false);
    bench.checker.power_cut();
    bench.store(ONE, &[0; BLOCK]);
    assert_eq!(bench.read(ONE), NOTHING, "no flush was acknowledged");

    let mut bench = Bench::with(Reads::Apart, true);
    bench.write(ONE);
    bench.flush(false);
    bench.flush(true);
    bench.checker.power_cut();
    bench.store(ONE, &[0; BLOCK]);
    assert_eq!(bench.read(ONE), [What::WentBack { found: 0, settled: 1 }]);
}

#[test]
fn a_power_cut_takes_no_write_with_fua() {
    let mut bench = Bench::with(Reads::Apart, true);
    let writing = bench.checker.begin_write(ONE, Change::Data, true);
    bench.checker.end_write(&writing, Ending::Acknowledged);
    bench.checker.power_cut();
    assert_eq!(bench.read(ONE), [What::WentBack { found: 0, settled: 1 }]);
}

#[test]
fn zeroes_that_outlived_a_power_cut_stay() {
    let mut bench = Bench::with(Reads::Apart, true);
    let old = bench.write(ONE);
    bench.flush(true);
    bench.change(ONE, Change::Zeroes, Ending::Acknowledged);
    bench.write(ONE);
    bench.checker.power_cut();
    bench.store(ONE, &[0; BLOCK]);
    assert_eq!(bench.read(ONE), NOTHING);
    assert_eq!(bench.read(ONE), NOTHING);
    bench.store(ONE, &old);
    assert_ne!(bench.read(ONE), NOTHING);
}

#[test]
fn notes_for_power_cuts_are_bounded_by_the_blocks() {
    let mut bench = Bench::with(Reads::Apart, true);
    for _ in 0..1000 {
        bench.write(ALL);
    }
    assert!(format!("{:?}", bench.checker.durability).len() < 10_000);
    bench.flush(true);
    bench.checker.power_cut();
    assert_eq!(bench.read(ALL), NOTHING);
}
