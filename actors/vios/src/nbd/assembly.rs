//! A client's requests and the replies to them: what is sent, what is still unanswered, and what
//! a server's bytes come to. Pure.
//!
//! A server is not trusted: a reply that fits no request, that holds more than was asked for, or
//! that says the same thing twice ends the connection.
//!
//! Invariants: (1) a request ends exactly once; (2) nothing is allocated that is longer than the
//! request whose reply it is for; (3) data is whole, or the request failed.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::handshake::Remote;
use super::intake::Intake;
use super::outgoing::Outgoing;
use super::wire::reply::{self, ChunkKind, ReplyHeader};
use super::wire::request::{RequestHeader, command, command_flag};
use super::wire::{WireError, code};
use crate::block::{Extent, Failure, Reply, Request, Run};

/// Longest error chunk: a string of 4096 bytes and what stands around it.
const ERROR_BYTES_MAX: u32 = 4096 + 14;
/// Longest status chunk that is read: 2^20 runs, and the context ("Structured reply types").
const STATUS_BYTES_MAX: u32 = (8 << 20) + 4;
/// Most pieces, apart from each other, that a read's data may be in.
const PIECES_MAX: usize = 1024;

/// Why a server's bytes are no replies. Fault: the server. The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// They are not the protocol's.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// No request has this cookie.
    #[error("a reply to no request (cookie {cookie})")]
    Stray {
        /// The cookie.
        cookie: u64,
    },
    /// It is no answer to a request of this kind.
    #[error("a reply of the wrong kind (cookie {cookie})")]
    Kind {
        /// The cookie.
        cookie: u64,
    },
    /// Data that was not asked for, or came before, or is missing.
    #[error("a reply with other data than was asked for (cookie {cookie})")]
    Extent {
        /// The cookie.
        cookie: u64,
    },
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Ended<W> {
    pub(crate) waiter: W,
    pub(crate) result: Result<Reply, Failure>,
}

/// Requests under way on one connection; `W` is who waits for one.
#[derive(Debug)]
pub(crate) struct Assembly<W> {
    remote: Remote,
    cookie_next: u64,
    open: HashMap<u64, Open<W>>,
    arriving: Option<Arriving>,
}

#[derive(Debug)]
struct Open<W> {
    waiter: W,
    extent: Extent,
    kind: Kind,
    /// Where in the stream of sent bytes it begins.
    start: u64,
    failure: Option<Failure>,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Read,
    Status,
}

/// What came of a reply so far.
#[derive(Debug)]
enum Content {
    None,
    /// All of a read's data, in one piece.
    Whole(Bytes),
    Pieces(Pieces),
    Runs(Vec<Run>),
}

/// A payload on its way.
#[derive(Clone, Copy, Debug)]
struct Arriving {
    cookie: u64,
    kind: ArrivingKind,
}

#[derive(Clone, Copy, Debug)]
enum ArrivingKind {
    /// All the data of a simple reply.
    Simple,
    /// The offset of a data chunk, of so many bytes of data.
    DataOffset {
        is_last: bool,
        length: u32,
    },
    Data {
        is_last: bool,
        offset: u64,
    },
    Chunk {
        kind: ChunkKind,
        is_last: bool,
    },
}

impl<W> Assembly<W> {
    pub(crate) fn new(remote: Remote) -> Self {
        Self { remote, cookie_next: 1, open: HashMap::new(), arriving: None }
    }

    /// Requests that are not answered.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Puts a request among what is sent.
    ///
    /// # Errors
    /// Gives the waiter back if the disk does not admit such a request, as [`Device::admit`] has
    /// it; nothing is sent.
    ///
    /// [`Device::admit`]: crate::disk::Device::admit
    pub(crate) fn send(
        &mut self,
        request: Request,
        waiter: W,
        outgoing: &mut Outgoing,
    ) -> Result<(), Ended<W>> {
        let (command, flags, extent, payload) = match self.encode(request) {
            Ok(encoded) => encoded,
            Err(failure) => return Err(Ended { waiter, result: Err(failure) }),
        };
        let kind = match command {
            command::READ => Kind::Read,
            command::BLOCK_STATUS => Kind::Status,
            _other => Kind::Plain,
        };
        let cookie = self.cookie_next;
        self.cookie_next += 1;
        let (start, _written) = outgoing.progress();
        let (offset, length) = (extent.offset, extent.length);
        let header = RequestHeader { flags, command, cookie, offset, length };
        outgoing.head(|out| out.extend_from_slice(&header.encode()));
        outgoing.payload(payload);
        let (failure, content) = (None, Content::None);
        self.open.insert(cookie, Open { waiter, extent, kind, start, failure, content });
        Ok(())
    }

    fn encode(&self, request: Request) -> Result<(u16, u16, Extent, Bytes), Failure> {
        self.remote.device.admit(&request)?;
        let fua_flag = |fua| if fua { command_flag::FUA } else { 0 };
        let none = Bytes::new();
        Ok(match request {
            Request::Read { extent } => (command::READ, 0, extent, none),
            Request::Status { extent } => (command::BLOCK_STATUS, 0, extent, none),
            Request::Flush => (command::FLUSH, 0, Extent { offset: 0, length: 0 }, none),
            Request::Write { offset, data, fua } => {
                let length = u32::try_from(data.len()).map_err(|_too_long| Failure::Invalid)?;
                (command::WRITE, fua_flag(fua), Extent { offset, length }, data)
            }
            Request::Trim { extent, fua } => (command::TRIM, fua_flag(fua), extent, none),
            Request::WriteZeroes { extent, fua, may_punch, only_fast } => {
                let hole = if may_punch { 0 } else { command_flag::NO_HOLE };
                let fast = if only_fast { command_flag::FAST_ZERO } else { 0 };
                (command::WRITE_ZEROES, fua_flag(fua) | hole | fast, extent, none)
            }
        })
    }

    /// Takes what it can from `intake`: the next request that has ended, or `None` when more
    /// bytes are needed.
    ///
    /// # Errors
    /// [`ReplyError`]: no more replies can be read.
    pub(crate) fn receive(&mut self, intake: &mut Intake) -> Result<Option<Ended<W>>, ReplyError> {
        loop {
            let ended = if let Some(arriving) = self.arriving {
                let Some(payload) = intake.payload() else { return Ok(None) };
                self.arriving = None;
                self.take_payload(arriving, payload, intake)?
            } else {
                let Some(magic) = intake.header().first_chunk::<4>() else { return Ok(None) };
                let bytes = reply::header_bytes(*magic)?;
                let Some(header) = intake.header().get(..bytes) else { return Ok(None) };
                let header = ReplyHeader::decode(header)?;
                intake.take_header(bytes);
                self.take_header(header, intake)?
            };
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }

    fn open(&mut self, cookie: u64) -> Result<&mut Open<W>, ReplyError> {
        self.open.get_mut(&cookie).ok_or(ReplyError::Stray { cookie })
    }

    fn end(&mut self, cookie: u64, result: Result<Reply, Failure>) -> Option<Ended<W>> {
        self.open.remove(&cookie).map(|open| Ended { waiter: open.waiter, result })
    }

    fn take_header(
        &mut self,
        header: ReplyHeader,
        intake: &mut Intake,
    ) -> Result<Option<Ended<W>>, ReplyError> {
        match header {
            ReplyHeader::Simple { cookie, error } => self.take_simple(cookie, error, intake),
            ReplyHeader::Chunk { cookie, kind, is_last, length } => {
                if !self.remote.is_structured {
                    return Err(ReplyError::Kind { cookie });
                }
                let open = self.open(cookie)?;
                let (limit, fits) = match kind {
                    ChunkKind::None => return self.take_last(cookie, is_last),
                    ChunkKind::Data => {
                        let limit = open.extent.length.saturating_add(reply::DATA_OFFSET_BYTES);
                        (limit, open.kind == Kind::Read)
                    }
                    ChunkKind::Hole => (length, open.kind == Kind::Read),
                    ChunkKind::Status => (STATUS_BYTES_MAX, open.kind == Kind::Status),
                    ChunkKind::Error => (ERROR_BYTES_MAX, true),
                };
                if !fits {
                    return Err(ReplyError::Kind { cookie });
                }
                if length > limit {
                    return Err(WireError::TooLong { bytes: length, limit }.into());
                }
                let (kind, expected) = if kind == ChunkKind::Data {
                    let length = length - reply::DATA_OFFSET_BYTES;
                    (ArrivingKind::DataOffset { is_last, length }, reply::DATA_OFFSET_BYTES)
                } else {
                    (ArrivingKind::Chunk { kind, is_last }, length)
                };
                self.expect(cookie, kind, expected, intake);
                Ok(None)
            }
        }
    }

    fn expect(&mut self, cookie: u64, kind: ArrivingKind, length: u32, intake: &mut Intake) {
        intake.expect_payload(usize::try_from(length).unwrap_or(usize::MAX), 1);
        self.arriving = Some(Arriving { cookie, kind });
    }

    fn take_simple(
        &mut self,
        cookie: u64,
        error: u32,
        intake: &mut Intake,
    ) -> Result<Option<Ended<W>>, ReplyError> {
        let is_structured = self.remote.is_structured;
        let open = self.open(cookie)?;
        let (kind, length) = (open.kind, open.extent.length);
        let is_due = match kind {
            Kind::Plain => true,
            Kind::Read => !is_structured,
            Kind::Status => error != 0,
        };
        // A chunk before it would be half an answer.
        if !is_due || open.failure.is_some() || !matches!(open.content, Content::None) {
            return Err(ReplyError::Kind { cookie });
        }
        if error != 0 {
            return Ok(self.end(cookie, Err(code::failure(error))));
        }
        if kind == Kind::Read {
            self.expect(cookie, ArrivingKind::Simple, length, intake);
            return Ok(None);
        }
        Ok(self.end(cookie, Ok(Reply::Done)))
    }

    fn take_payload(
        &mut self,
        arriving: Arriving,
        payload: Bytes,
        intake: &mut Intake,
    ) -> Result<Option<Ended<W>>, ReplyError> {
        let cookie = arriving.cookie;
        let context = self.remote.context;
        let open = self.open(cookie)?;
        let is_last = match arriving.kind {
            ArrivingKind::Simple => return Ok(self.end(cookie, Ok(Reply::Data(payload)))),
            ArrivingKind::DataOffset { is_last, length } => {
                let offset = super::wire::Cursor::new(&payload).u64()?;
                if !open.may_hold(Extent { offset, length }) {
                    return Err(ReplyError::Extent { cookie });
                }
                self.expect(cookie, ArrivingKind::Data { is_last, offset }, length, intake);
                return Ok(None);
            }
            ArrivingKind::Data { is_last, offset } => {
                open.add_data(offset, payload).ok_or(ReplyError::Extent { cookie })?;
                is_last
            }
            ArrivingKind::Chunk { kind: ChunkKind::Hole, is_last } => {
                let (offset, length) = reply::read_hole(&payload)?;
                open.add_hole(Extent { offset, length }).ok_or(ReplyError::Extent { cookie })?;
                is_last
            }
            ArrivingKind::Chunk { kind: ChunkKind::Status, is_last } => {
                let (id, runs) = reply::read_status(&payload)?;
                if Some(id) != context || !matches!(open.content, Content::None) {
                    return Err(ReplyError::Kind { cookie });
                }
                open.content = Content::Runs(runs);
                is_last
            }
            ArrivingKind::Chunk { kind: ChunkKind::None | ChunkKind::Data, .. } => {
                return Err(ReplyError::Kind { cookie });
            }
            ArrivingKind::Chunk { kind: ChunkKind::Error, is_last } => {
                let failure = code::failure(reply::read_error(&payload)?);
                open.failure.get_or_insert(failure);
                is_last
            }
        };
        self.take_last(cookie, is_last)
    }

    /// Ends the request if its last chunk is here.
    fn take_last(&mut self, cookie: u64, is_last: bool) -> Result<Option<Ended<W>>, ReplyError> {
        let open = self.open(cookie)?;
        if !is_last {
            return Ok(None);
        }
        let content = std::mem::replace(&mut open.content, Content::None);
        let result = match (open.failure, open.kind, content) {
            (Some(failure), _, _) => Err(failure),
            (None, Kind::Plain, _) => Ok(Reply::Done),
            (None, Kind::Read, Content::Whole(data)) => Ok(Reply::Data(data)),
            (None, Kind::Read, Content::None) if open.extent.length == 0 => {
                Ok(Reply::Data(Bytes::new()))
            }
            (None, Kind::Read, Content::Pieces(pieces)) => {
                Ok(Reply::Data(pieces.whole().ok_or(ReplyError::Extent { cookie })?))
            }
            (None, Kind::Status, Content::Runs(runs)) => Ok(Reply::Status(runs)),
            (None, Kind::Read | Kind::Status, _) => return Err(ReplyError::Extent { cookie }),
        };
        Ok(self.end(cookie, result))
    }

    /// Gives everybody back who still waits, and whether a byte of the request was written.
    pub(crate) fn abandon(&mut self, written: u64) -> impl Iterator<Item = (W, bool)> {
        self.open.drain().map(move |(_cookie, open)| (open.waiter, open.start < written))
    }
}

impl<W> Open<W> {
    /// Whether this part of a read was asked for, and has not come yet.
    fn may_hold(&self, part: Extent) -> bool {
        let is_asked = part.offset >= self.extent.offset
            && part.length > 0
            && part.end().zip(self.extent.end()).is_some_and(|(part, all)| part <= all);
        is_asked
            && match &self.content {
                Content::None => true,
                Content::Pieces(pieces) => !pieces.covers_any(part),
                Content::Whole(_) | Content::Runs(_) => false,
            }
    }

    fn add_data(&mut self, offset: u64, data: Bytes) -> Option<()> {
        let length = u32::try_from(data.len()).ok()?;
        if length == self.extent.length {
            self.content = Content::Whole(data);
            return Some(());
        }
        self.pieces()?.add(Extent { offset, length }, Some(&data))
    }

    fn add_hole(&mut self, hole: Extent) -> Option<()> {
        if !self.may_hold(hole) {
            return None;
        }
        self.pieces()?.add(hole, None)
    }

    fn pieces(&mut self) -> Option<&mut Pieces> {
        if matches!(self.content, Content::None) {
            self.content = Content::Pieces(Pieces::new(self.extent));
        }
        match &mut self.content {
            Content::Pieces(pieces) => Some(pieces),
            Content::None | Content::Whole(_) | Content::Runs(_) => None,
        }
    }
}

/// A read's data that comes in pieces, in any order.
#[derive(Debug)]
struct Pieces {
    extent: Extent,
    data: BytesMut,
    /// What has come: in order, apart from each other.
    come: Vec<(u64, u64)>,
}

impl Pieces {
    fn new(extent: Extent) -> Self {
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        Self { extent, data: BytesMut::zeroed(length), come: Vec::new() }
    }

    fn covers_any(&self, part: Extent) -> bool {
        let end = part.offset.saturating_add(part.length.into());
        self.come.iter().any(|&(start, stop)| start < end && part.offset < stop)
    }

    /// Puts a piece, which covers nothing that came before, in its place; zeroes without data.
    fn add(&mut self, part: Extent, data: Option<&[u8]>) -> Option<()> {
        let end = part.end()?;
        if let Some(data) = data {
            let start = usize::try_from(part.offset.checked_sub(self.extent.offset)?).ok()?;
            let place = self.data.get_mut(start..start.checked_add(data.len())?)?;
            place.copy_from_slice(data);
        }
        let at = self.come.partition_point(|&(start, _)| start < part.offset);
        self.come.insert(at, (part.offset, end));
        self.come.dedup_by(|next, before| {
            let joins = before.1 == next.0;
            if joins {
                before.1 = next.1;
            }
            joins
        });
        (self.come.len() <= PIECES_MAX).then_some(())
    }

    fn whole(self) -> Option<Bytes> {
        let all = (self.extent.offset, self.extent.end()?);
        (self.come == [all]).then(|| self.data.freeze())
    }
}

#[cfg(test)]
mod tests;
