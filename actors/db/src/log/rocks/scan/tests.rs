use super::{BLOCK_BYTES, FIRST, Gap, HEADER_BYTES, LAST, MIDDLE, Scan, WHOLE, masked};

/// Writes records as RocksDB does.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    next: u64,
    ends: Vec<usize>,
}

impl Log {
    fn add(&mut self, count: u32, size: usize) {
        let mut content = self.next.to_le_bytes().to_vec();
        content.extend(count.to_le_bytes());
        content.resize(12 + size, 0xa5);
        self.next += u64::from(count);
        let mut rest = content.as_slice();
        let mut begins = true;
        loop {
            let left = BLOCK_BYTES - self.bytes.len() % BLOCK_BYTES;
            if left < HEADER_BYTES {
                self.bytes.resize(self.bytes.len() + left, 0);
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(left - HEADER_BYTES));
            let kind = match (begins, later.is_empty()) {
                (true, true) => WHOLE,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            let mut summed = vec![kind];
            summed.extend(now);
            self.bytes.extend(masked(crc32c::crc32c(&summed)).to_le_bytes());
            self.bytes.extend(u16::try_from(now.len()).unwrap().to_le_bytes());
            self.bytes.extend(summed);
            begins = false;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        self.ends.push(self.bytes.len());
    }
}

fn judge(logs: &[&[u8]]) -> Result<Vec<Option<u64>>, Gap> {
    let mut scan = Scan::default();
    let mut cuts = Vec::new();
    for log in logs {
        scan.begin_log();
        for block in log.chunks(BLOCK_BYTES) {
            scan.take(block)?;
        }
        cuts.push(scan.end_log());
    }
    Ok(cuts)
}

fn log() -> Log {
    let mut log = Log { next: 1, ..Log::default() };
    for size in [10, 3000, 40_000, 0, 24_000, 100_000, 7, 32_000, 500, 20] {
        log.add(3, size);
    }
    log
}

/// Offsets around the beginnings of records and blocks, and some in between.
fn places(log: &Log, end: usize) -> Vec<usize> {
    let blocks = (0..log.bytes.len()).step_by(BLOCK_BYTES);
    let edges = log.ends.iter().copied().chain(blocks);
    let near = edges.flat_map(|edge| edge.saturating_sub(9)..edge + 21);
    let mut places: Vec<_> = near.chain((0..end).step_by(4999)).filter(|at| *at < end).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn a_log_cut_anywhere_is_cut_back_to_its_last_whole_record() {
    let log = log();
    for cut in places(&log, log.bytes.len()) {
        let whole = log.ends.iter().rev().find(|end| **end <= cut).copied().unwrap_or(0);
        let found = judge(&[&log.bytes[..cut]]).unwrap();
        // Padding at the end of a block may be there or not.
        let padding = cut / BLOCK_BYTES * BLOCK_BYTES == cut && cut - whole < HEADER_BYTES;
        let expected = (whole != cut && !padding).then_some(whole as u64);
        let skipped = found[0].zip(expected).is_some_and(|(a, b)| a - b < HEADER_BYTES as u64);
        assert!(found[0] == expected || skipped, "cut at {cut}: {found:?}, not {expected:?}");
    }
}

#[test]
fn a_flipped_byte_before_the_last_record_is_damage() {
    let log = log();
    let last = log.ends[log.ends.len() - 2];
    for at in places(&log, last) {
        let mut bytes = log.bytes.clone();
        bytes[at] ^= 0x10;
        assert_eq!(judge(&[&bytes]), Err(Gap), "flipped at {at}");
    }
}

#[test]
fn a_flipped_byte_in_the_last_record_looks_torn() {
    let log = log();
    let last = log.ends[log.ends.len() - 2];
    for at in last..log.bytes.len() {
        let mut bytes = log.bytes.clone();
        bytes[at] ^= 0x10;
        assert_eq!(judge(&[&bytes]), Ok(vec![Some(last as u64)]), "flipped at {at}");
    }
}

#[test]
fn zeros_in_the_middle_are_damage_and_at_the_end_torn() {
    let log = log();
    let mut bytes = log.bytes.clone();
    bytes[4096..8192].fill(0);
    assert_eq!(judge(&[&bytes]), Err(Gap));
    let mut bytes = log.bytes.clone();
    bytes.resize(bytes.len() + 9000, 0);
    assert_eq!(judge(&[&bytes]), Ok(vec![Some(log.bytes.len() as u64)]));
}

#[test]
fn a_record_whose_first_part_never_arrived_is_torn() {
    let mut log = log();
    let begin = log.bytes.len();
    log.add(1, 90_000);
    log.bytes[begin..begin + 20_000].fill(0);
    assert_eq!(judge(&[&log.bytes]), Ok(vec![Some(begin as u64)]));
}

#[test]
fn a_record_that_is_missing_between_two_whole_ones_is_damage() {
    let mut log = Log { next: 1, ..Log::default() };
    log.add(1, 10);
    log.next += 1;
    log.add(1, 10);
    assert_eq!(judge(&[&log.bytes]), Err(Gap));
}

#[test]
fn a_log_after_a_torn_one_is_damage_if_anything_in_it_is_whole() {
    let first = log();
    let torn = &first.bytes[..first.bytes.len() - 1];
    let whole = first.ends[first.ends.len() - 2] as u64;
    let mut second = Log { next: first.next + 5, ..Log::default() };
    second.add(1, 100);
    assert_eq!(judge(&[&first.bytes, &second.bytes]), Ok(vec![None, None]));
    assert_eq!(judge(&[torn, &second.bytes]), Err(Gap));
    assert_eq!(judge(&[torn, &second.bytes[..50]]), Ok(vec![Some(whole), Some(0)]));
    assert_eq!(judge(&[torn, &[]]), Ok(vec![Some(whole), Some(0)]));
}
