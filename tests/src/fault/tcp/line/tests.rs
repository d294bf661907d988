use std::time::Duration;

use bytes::Bytes;

use super::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, Due, End, LINE_BYTES_MAX, Line};
use crate::fault::{Instant, StreamFaults};

fn ms(count: u32) -> Instant {
    Instant::START.after(Duration::from_millis(1) * count)
}

fn delay(count: u32) -> StreamFaults {
    StreamFaults::none().with_delay(Duration::from_millis(1) * count).expect("short")
}

/// All that leaves at `now`, and how the line answers after it.
fn drain(line: &mut Line, now: Instant) -> (Vec<u8>, Option<End>) {
    let mut out = Vec::new();
    loop {
        let count = match line.due(now) {
            Due::Bytes(bytes) => {
                out.extend_from_slice(bytes);
                bytes.len()
            }
            Due::End(end) => return (out, Some(end)),
            Due::Nothing | Due::Spent => return (out, None),
        };
        line.sent(count);
    }
}

#[test]
fn a_delay_holds_bytes_and_the_end_in_order() {
    let mut line = Line::new(delay(10));
    line.push(ms(0), Bytes::from_static(b"one "));
    line.push(ms(5), Bytes::from_static(b"two"));
    line.push_end(ms(5), End::Finished);
    line.push_end(ms(5), End::Broken);
    assert_eq!(line.next_departure(), Some(ms(10)));
    assert_eq!(drain(&mut line, ms(9)), (vec![], None));
    assert_eq!(drain(&mut line, ms(10)), (b"one ".to_vec(), None));
    assert_eq!(line.next_departure(), Some(ms(15)));
    assert_eq!(drain(&mut line, ms(15)), (b"two".to_vec(), Some(End::Finished)));
}

#[test]
fn a_stall_holds_everything_until_it_is_lifted() {
    let stalled = StreamFaults::none().with_stall(true);
    let mut line = Line::new(stalled);
    line.push(ms(0), Bytes::from_static(b"held"));
    line.push_end(ms(0), End::Broken);
    assert_eq!(line.due(ms(60_000)), Due::Nothing);
    assert_eq!(line.next_departure(), None);
    line.set(ms(60_000), StreamFaults::none());
    assert_eq!(drain(&mut line, ms(60_000)), (b"held".to_vec(), Some(End::Broken)));
}

#[test]
fn less_delay_frees_what_is_held_without_reordering() {
    let mut line = Line::new(delay(1_000));
    line.push(ms(0), Bytes::from_static(b"old "));
    line.set(ms(10), delay(5));
    line.push(ms(11), Bytes::from_static(b"new"));
    assert_eq!(drain(&mut line, ms(14)), (vec![], None));
    assert_eq!(drain(&mut line, ms(15)), (b"old ".to_vec(), None));
    assert_eq!(drain(&mut line, ms(16)), (b"new".to_vec(), None));
}

#[test]
fn a_rate_spaces_chunks_and_makes_them_small() {
    let rate = StreamFaults::none().with_rate(Some(10_000)).expect("rate");
    let mut line = Line::new(rate);
    assert_eq!(line.room(), CHUNK_BYTES_MIN);
    for _chunk in 0..3 {
        line.push(ms(0), Bytes::from_static(&[7; 1_000]));
    }
    assert_eq!(drain(&mut line, ms(99)).0.len(), 0);
    assert_eq!(drain(&mut line, ms(100)).0.len(), 1_000);
    assert_eq!(drain(&mut line, ms(250)).0.len(), 1_000);
    assert_eq!(drain(&mut line, ms(300)).0.len(), 1_000);
}

#[test]
fn a_full_line_has_no_room_until_bytes_leave() {
    let mut line = Line::new(StreamFaults::none().with_stall(true));
    let mut held = 0;
    while line.room() > 0 {
        held += line.room();
        line.push(ms(0), Bytes::from(vec![0; line.room()]));
    }
    assert_eq!(held, LINE_BYTES_MAX);
    line.set(ms(1), StreamFaults::none());
    line.sent(100);
    assert_eq!(line.room(), 100);
    assert_eq!(drain(&mut line, ms(1)).0.len(), LINE_BYTES_MAX - 100);
    assert_eq!(line.room(), CHUNK_BYTES_MAX);
}

#[test]
fn a_reset_after_n_bytes_lets_exactly_n_through() {
    let mut line = Line::new(StreamFaults::none().with_reset_after(Some(5)));
    line.push(ms(0), Bytes::from_static(b"abc"));
    line.push(ms(0), Bytes::from_static(b"defg"));
    assert_eq!(drain(&mut line, ms(0)), (b"abcde".to_vec(), None));
    assert_eq!(line.due(ms(0)), Due::Spent);
}
