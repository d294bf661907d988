use super::*;
use crate::wire::{FrameDecoder, FrameLimits, Incoming};
use proptest::prelude::*;

const LIMITS: QueueLimits = QueueLimits {
    head_bytes_max: 100,
    inline_body_bytes_max: 4096,
    body_bytes_max: 10_000,
    queued_bytes_max: 20_000,
    detached_bytes_max: 15_000,
};

fn heads(batch: &Batch) -> Vec<u32> {
    let mut decoder = FrameDecoder::new(FrameLimits {
        head_bytes_max: 100,
        inline_body_bytes_max: 4096,
        body_bytes_max: 10_000,
    });
    let mut numbers = Vec::new();
    for segment in &batch.segments {
        decoder.push(segment.clone());
        while let Some(message) = decoder.next().unwrap() {
            let (Incoming::Inline { head, .. } | Incoming::Detached { head, .. }) = message;
            numbers.push(u32::from_le_bytes(head.as_ref().try_into().unwrap()));
        }
    }
    assert!(!decoder.is_mid_message(), "a batch ends with a whole message");
    numbers
}

#[test]
fn a_full_queue_refuses_and_takes_again_once_it_was_taken() {
    let queue = LaneQueue::new(LIMITS);
    let body = Bytes::from(vec![0; 4000]);
    for number in 1..=4 {
        assert_eq!(queue.push(1, b"head", &body), Ok(number));
    }
    assert_eq!(queue.push(1, b"head", &body), Err(PushError::Full));
    assert_eq!(queue.depth(), (4, 4 * 4017));
    assert_eq!(queue.take().unwrap().end(), 5);
    assert_eq!(queue.push(1, b"head", &body), Ok(5));
}

#[test]
fn detached_bodies_have_a_bound_of_their_own() {
    let queue = LaneQueue::new(LIMITS);
    let body = Bytes::from(vec![0; 10_000]);
    assert_eq!(queue.push(1, b"head", &body), Ok(1));
    assert_eq!(queue.push(1, b"head", &body), Err(PushError::Full));
    assert_eq!(queue.push(1, b"head", &Bytes::new()), Ok(2));
    assert_eq!(queue.take().unwrap().detached.len(), 1);
    assert_eq!(queue.push(1, b"head", &body), Err(PushError::Full));
    queue.body_done(10_000);
    assert_eq!(queue.push(1, b"head", &body), Ok(3));
}

#[test]
fn what_is_too_long_is_refused_with_the_limit() {
    let queue = LaneQueue::new(LIMITS);
    assert_eq!(
        queue.push(1, &[0; 101], &Bytes::new()),
        Err(PushError::HeadTooLong { bytes: 101, limit: 100 })
    );
    assert_eq!(
        queue.push(1, b"", &Bytes::from(vec![0; 10_001])),
        Err(PushError::BodyTooLong { bytes: 10_001, limit: 10_000 })
    );
}

#[test]
fn a_closed_gate_drops_what_is_queued_and_says_which() {
    let queue = LaneQueue::new(LIMITS);
    queue.push(1, b"head", &Bytes::new()).unwrap();
    queue.push(1, b"head", &Bytes::from(vec![0; 10_000])).unwrap();
    assert_eq!(queue.set_gate(Gate::Unreachable), 1..3);
    assert_eq!(queue.push(1, b"head", &Bytes::new()), Err(PushError::Unreachable));
    assert_eq!(queue.set_gate(Gate::Open), 3..3);
    assert_eq!(queue.push(1, b"head", &Bytes::from(vec![0; 10_000])), Ok(3));
    queue.seal();
    assert_eq!(queue.push(1, b"head", &Bytes::new()), Err(PushError::Closed));
    assert_eq!(queue.take().unwrap().first, 3);
}

#[test]
fn a_batch_that_comes_back_after_the_queue_was_dropped_is_dropped_too() {
    let queue = LaneQueue::new(LIMITS);
    let body = Bytes::from(vec![0; 10_000]);
    queue.push(1, b"head", &Bytes::new()).unwrap();
    queue.push(1, b"head", &body).unwrap();
    let batch = queue.take().unwrap();
    assert_eq!(queue.discard(), 3..3);
    assert_eq!(queue.push(1, b"next", &Bytes::new()), Ok(3));
    assert_eq!(queue.put_back(batch, 5), PutBack { begun_end: 2, dropped: 2..3 });
    assert_eq!(queue.push(1, b"next", &body), Ok(4));
    let batch = queue.take().unwrap();
    assert_eq!((batch.first, batch.count), (3, 2));
    // All of it begun: nothing comes back, and the numbers do not fall.
    queue.discard();
    assert_eq!(queue.put_back(batch, usize::MAX), PutBack { begun_end: 5, dropped: 5..5 });
    assert_eq!(queue.push(1, b"next", &Bytes::new()), Ok(5));
    queue.discard();
    assert_eq!(queue.next_number(), 6);
}

proptest! {
    /// Wherever a connection breaks, the messages that were not begun are queued again, before
    /// the newer ones, and no others.
    #[test]
    fn an_interrupted_batch_goes_back_without_what_was_begun(
        bodies in prop::collection::vec(0_usize..6000, 1..20),
        newer in 0_u32..3,
        cut in any::<prop::sample::Index>(),
    ) {
        let limits = QueueLimits {
            queued_bytes_max: usize::MAX, detached_bytes_max: usize::MAX, ..LIMITS
        };
        let queue = LaneQueue::new(limits);
        let total = u32::try_from(bodies.len()).unwrap();
        for (position, body) in (1..).zip(&bodies) {
            let position: u32 = position;
            queue.push(1, &position.to_le_bytes(), &Bytes::from(vec![7; *body])).unwrap();
        }
        let batch = queue.take().unwrap();
        let lane_bytes: usize = batch.segments.iter().map(Bytes::len).sum();
        let written = cut.index(lane_bytes + 1);
        for extra in 1..=newer {
            queue.push(1, &(total + extra).to_le_bytes(), &Bytes::new()).unwrap();
        }
        let mut ends = bodies.iter().scan(0, |end, body| {
            *end += HEADER_BYTES + 4 + if *body > 4096 { 0 } else { *body };
            Some(*end)
        }).collect::<Vec<_>>();
        ends.insert(0, 0);
        ends.pop();
        let begun = u32::try_from(ends.iter().filter(|start| **start < written).count()).unwrap();

        let back = queue.put_back(batch, written);
        prop_assert_eq!(back.begun_end, u64::from(begun) + 1);
        prop_assert!(back.dropped.is_empty());
        let expected: Vec<u32> = (begun + 1..=total + newer).collect();
        match queue.take() {
            None => prop_assert!(expected.is_empty()),
            Some(again) => {
                prop_assert_eq!(again.first, u64::from(begun) + 1);
                prop_assert_eq!(heads(&again), expected);
                prop_assert!(again.detached.iter().all(|body| body.number > u64::from(begun)));
            }
        }
    }
}
