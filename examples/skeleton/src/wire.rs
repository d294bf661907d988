//! What actors ask each other, and its bytes as the head of a message. A body travels behind it.
//!
//! | bytes | of the head, little-endian |
//! |---|---|
//! | 1 | code: 1 open, 2 read, 3 write, 4 flush; 16 and above: an answer, see [`Status`] |
//! | 8 | id of the question, the asker's |
//! | 16 | epoch: owner, number |
//! | 8, 4 | offset and length on the disk; zero where there is none |
//! | 8 × 13 | the trace |
//! | rest | name of the actor asked; nothing in an answer |

use actix::Message;
use bytes::{Buf, BufMut, Bytes};

use crate::names::Reply;
use crate::trace::Trace;

/// One opening of the disk. Given by the disk's one owner, compared in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Epoch {
    pub(crate) owner: u64,
    pub(crate) seq: u64,
}

/// What is asked of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Open,
    Read { offset: u64, length: u32 },
    Write { offset: u64, body: Bytes },
    Flush,
}

/// A request, the epoch it belongs to, and where it has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) epoch: Epoch,
    pub(crate) request: Request,
    pub(crate) trace: Trace,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Performed.
    Done,
    /// Not performed: the answer's epoch is the one that counts.
    Refused,
    /// The device failed. A write may be there in part.
    Failed,
    /// Not performed: too much waits already, the actor is not here, or it may not be asked.
    NotTaken,
    /// The actor gave no answer. Performed: unknown.
    Dropped,
}

const STATUSES: [Status; 5] =
    [Status::Done, Status::Refused, Status::Failed, Status::NotTaken, Status::Dropped];
/// Code of the first status.
const ANSWERS: u8 = 16;

/// An answer, with the bytes read if it was a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    pub(crate) epoch: Epoch,
    pub(crate) body: Bytes,
    pub(crate) trace: Trace,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn bare(status: Status, epoch: Epoch, trace: Trace) -> Self {
        Self { status, epoch, body: Bytes::new(), trace }
    }
}

/// A question in an actor's mailbox. Who answers uses up the reply; to drop it is an answer too.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) question: Question,
    pub(crate) reply: Reply,
}

impl Message for Call {
    type Result = ();
}

/// What a link carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Question { id: u64, to: String, question: Question },
    Answer { id: u64, answer: Answer },
}

/// The head of a question, and its body.
pub(crate) fn question_frame(id: u64, to: &str, question: &Question) -> (Vec<u8>, Bytes) {
    let (code, offset, length, body) = match &question.request {
        Request::Open => (1, 0, 0, Bytes::new()),
        Request::Read { offset, length } => (2, *offset, *length, Bytes::new()),
        Request::Write { offset, body } => (3, *offset, 0, body.clone()),
        Request::Flush => (4, 0, 0, Bytes::new()),
    };
    let mut head = head(code, id, question.epoch, (offset, length), &question.trace);
    head.put_slice(to.as_bytes());
    (head, body)
}

/// The head of an answer; its body is the answer's.
pub(crate) fn answer_frame(id: u64, answer: &Answer) -> Vec<u8> {
    let place = (0..).zip(STATUSES).find(|(_place, status)| *status == answer.status);
    let code = ANSWERS + place.map_or(0, |(place, _status)| place);
    head(code, id, answer.epoch, (0, 0), &answer.trace)
}

fn head(code: u8, id: u64, epoch: Epoch, range: (u64, u32), trace: &Trace) -> Vec<u8> {
    let mut head = Vec::with_capacity(160);
    head.put_u8(code);
    head.put_u64_le(id);
    head.put_u64_le(epoch.owner);
    head.put_u64_le(epoch.seq);
    head.put_u64_le(range.0);
    head.put_u32_le(range.1);
    trace.0.iter().for_each(|time| head.put_u64_le(*time));
    head
}

/// Reads a message; `None` when it is none of ours.
pub(crate) fn decode(mut head: Bytes, body: Bytes) -> Option<Frame> {
    let code = head.try_get_u8().ok()?;
    let mut next = || head.try_get_u64_le().ok();
    let (id, owner, seq, offset) = (next()?, next()?, next()?, next()?);
    let length = head.try_get_u32_le().ok()?;
    let mut trace = Trace::default();
    for time in &mut trace.0 {
        *time = head.try_get_u64_le().ok()?;
    }
    let epoch = Epoch { owner, seq };
    let request = match code {
        1 => Request::Open,
        2 => Request::Read { offset, length },
        3 => Request::Write { offset, body },
        4 => Request::Flush,
        answer => {
            let status = *STATUSES.get(usize::from(answer.checked_sub(ANSWERS)?))?;
            return Some(Frame::Answer { id, answer: Answer { status, epoch, body, trace } });
        }
    };
    let to = String::from_utf8(head.into()).ok()?;
    Some(Frame::Question { id, to, question: Question { epoch, request, trace } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_and_an_answer_come_back_whole_and_a_cut_one_not_at_all() {
        let (epoch, body) = (Epoch { owner: 1, seq: 2 }, Bytes::from_static(b"body"));
        let trace = Trace([7; crate::trace::MARKS]);
        let request = Request::Write { offset: 4096, body: body.clone() };
        let question = Question { epoch, request, trace };
        let (head, carried) = question_frame(3, "vios@n2", &question);
        let expected = Frame::Question { id: 3, to: "vios@n2".to_owned(), question };
        assert_eq!(decode(head.clone().into(), carried), Some(expected));
        for length in 0..141 {
            assert_eq!(decode(Bytes::copy_from_slice(&head[..length]), Bytes::new()), None);
        }
        for status in STATUSES {
            let answer = Answer { status, epoch, body: body.clone(), trace };
            let head = answer_frame(4, &answer);
            assert_eq!(decode(head.into(), body.clone()), Some(Frame::Answer { id: 4, answer }));
        }
    }
}
