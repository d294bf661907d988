//! The client's side of a handshake.
//!
//! ```text
//! Greeting ─▶ STRUCTURED_REPLY ─▶ SET_META_CONTEXT ─▶ GO ──────▶ transmission
//!                     └──refused────────────────────▶ │ unknown option
//!                                                     ▼
//!                                                EXPORT_NAME ──▶ transmission
//! ```
//!
//! Invariants: (1) one option is under way at a time; (2) nothing is agreed that the server did
//! not acknowledge.

use bytes::{Buf, BytesMut};

use super::{HandshakeError, REPLIES_MAX, REPLY_BYTES_MAX, Refusal};
use crate::disk::{BLOCK_PREFERRED_DEFAULT, Device, PAYLOAD_MAX_DEFAULT};
use crate::nbd::wire::info::{self, Info};
use crate::nbd::wire::option::{self, InfoQuery, OptionReply, code, reply};
use crate::nbd::wire::{self, Cursor, EXPORT_NAME_ZEROES, WireError, handshake_flag};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Name of the export, at most 4096 bytes.
    pub(crate) export: String,
    /// Structured replies, and with them block status.
    pub(crate) structured: bool,
}

/// What a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// As the server described it; not checked yet.
    pub(crate) device: Device,
    pub(crate) is_structured: bool,
    /// The id under which block status may be asked for.
    pub(crate) context: Option<u32>,
}

/// What follows from the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientStep {
    /// More bytes are needed.
    More,
    /// Transmission begins.
    Go(Remote),
}

/// One connection's handshake.
#[derive(Debug)]
pub(crate) struct ClientHandshake {
    wanted: Wanted,
    state: State,
    replies: u32,
    no_zeroes: bool,
    is_structured: bool,
    context: Option<u32>,
    export: Option<(u64, u16)>,
    sizes: (u32, u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Option(u32),
    ExportName,
}

impl ClientHandshake {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            state: State::Greeting,
            replies: 0,
            no_zeroes: false,
            is_structured: false,
            context: None,
            export: None,
            sizes: (1, BLOCK_PREFERRED_DEFAULT, PAYLOAD_MAX_DEFAULT),
        }
    }

    /// Takes what it can from `input`, and appends what it has to say to `out`.
    ///
    /// # Errors
    /// [`HandshakeError`]: the connection is closed.
    pub(crate) fn step(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<ClientStep, HandshakeError> {
        loop {
            match self.state {
                State::Greeting => {
                    let Some(bytes) = input.first_chunk() else { return Ok(ClientStep::More) };
                    let flags = wire::read_greeting(bytes)?;
                    input.advance(wire::GREETING_BYTES);
                    self.greet(flags, out)?;
                }
                State::Option(option) => {
                    let Some(header) = input.first_chunk() else { return Ok(ClientStep::More) };
                    let header = OptionReply::decode(header)?;
                    if header.length > REPLY_BYTES_MAX {
                        let (bytes, limit) = (header.length, REPLY_BYTES_MAX);
                        return Err(WireError::TooLong { bytes, limit }.into());
                    }
                    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                    if input.len() - option::REPLY_BYTES < length {
                        return Ok(ClientStep::More);
                    }
                    input.advance(option::REPLY_BYTES);
                    let data = input.split_to(length);
                    if let Some(remote) = self.take_reply(option, header, &data, out)? {
                        return Ok(ClientStep::Go(remote));
                    }
                }
                State::ExportName => return self.take_export_name(input),
            }
        }
    }

    fn greet(&mut self, flags: u16, out: &mut BytesMut) -> Result<(), HandshakeError> {
        if flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            return Err(HandshakeError::NotFixed);
        }
        let known = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        self.no_zeroes = flags & handshake_flag::NO_ZEROES != 0;
        out.extend_from_slice(&u32::from(flags & known).to_be_bytes());
        if self.wanted.structured {
            self.ask(code::STRUCTURED_REPLY, &[], out);
        } else {
            self.go(out);
        }
        Ok(())
    }

    fn ask(&mut self, option: u32, data: &[u8], out: &mut BytesMut) {
        option::put_option(out, option, data);
        self.state = State::Option(option);
    }

    fn go(&mut self, out: &mut BytesMut) {
        let infos = vec![info::kind::BLOCK_SIZE];
        let data = InfoQuery { name: &self.wanted.export, infos }.encode();
        self.ask(code::GO, &data, out);
    }

    fn take_reply(
        &mut self,
        option: u32,
        header: OptionReply,
        data: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<Remote>, HandshakeError> {
        self.replies += 1;
        if self.replies > REPLIES_MAX {
            return Err(HandshakeError::TooMany);
        }
        if header.option != option {
            return Err(WireError::Unexpected { code: header.option }.into());
        }
        let is_error = header.kind & reply::ERROR_BIT != 0;
        match (option, header.kind) {
            (code::STRUCTURED_REPLY, reply::ACK) => {
                self.is_structured = true;
                let data = option::allocation_query(&self.wanted.export);
                self.ask(code::SET_META_CONTEXT, &data, out);
            }
            (code::SET_META_CONTEXT, reply::META_CONTEXT) => self.take_context(data)?,
            (code::SET_META_CONTEXT, reply::ACK) => self.go(out),
            // Neither is needed: what the server does not have is done without.
            (code::STRUCTURED_REPLY | code::SET_META_CONTEXT, _) if is_error => {
                self.context = None;
                self.go(out);
            }
            (code::GO, reply::INFO) => self.take_info(data)?,
            (code::GO, reply::ACK) => return self.remote().map(Some),
            (code::GO, reply::ERR_UNSUP) => {
                option::put_option(out, code::EXPORT_NAME, self.wanted.export.as_bytes());
                self.state = State::ExportName;
            }
            (code::GO, refused) if is_error => {
                return Err(HandshakeError::Refused { refusal: Refusal::of(refused) });
            }
            (_, unexpected) => return Err(WireError::Unexpected { code: unexpected }.into()),
        }
        Ok(None)
    }

    fn take_context(&mut self, data: &[u8]) -> Result<(), HandshakeError> {
        let mut cursor = Cursor::new(data);
        let id = cursor.u32()?;
        let rest = cursor.rest();
        if rest == option::ALLOCATION.as_bytes() {
            self.context = Some(id);
        }
        Ok(())
    }

    fn take_info(&mut self, data: &[u8]) -> Result<(), HandshakeError> {
        match Info::decode(data)? {
            Info::Export { size, flags } => self.export = Some((size, flags)),
            Info::BlockSize { min, preferred, payload_max } => {
                self.sizes = (min, preferred, payload_max);
            }
            Info::Other => {}
        }
        Ok(())
    }

    fn take_export_name(&mut self, input: &mut BytesMut) -> Result<ClientStep, HandshakeError> {
        let zeroes = if self.no_zeroes { 0 } else { EXPORT_NAME_ZEROES };
        let mut cursor = Cursor::new(input);
        let (Ok(size), Ok(flags), Ok(_)) = (cursor.u64(), cursor.u16(), cursor.bytes(zeroes))
        else {
            return Ok(ClientStep::More);
        };
        input.advance(size_of::<u64>() + size_of::<u16>() + zeroes);
        self.export = Some((size, flags));
        self.remote().map(ClientStep::Go)
    }

    fn remote(&self) -> Result<Remote, HandshakeError> {
        let (size, flags) = self.export.ok_or(HandshakeError::NotDescribed)?;
        let (block_min, block_preferred, payload_max) = self.sizes;
        let mut abilities = info::abilities_of(flags);
        abilities.can_status = self.context.is_some();
        let device =
            Device { size, block_min, block_preferred, payload_max, memory_align: 1, abilities };
        Ok(Remote { device, is_structured: self.is_structured, context: self.context })
    }
}

impl Refusal {
    fn of(code: u32) -> Self {
        match code {
            reply::ERR_UNKNOWN => Self::Unknown,
            reply::ERR_POLICY => Self::Policy,
            reply::ERR_TLS_REQD => Self::TlsRequired,
            reply::ERR_SHUTDOWN => Self::ShuttingDown,
            code => Self::Other { code },
        }
    }
}
