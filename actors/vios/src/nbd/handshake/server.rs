//! The server's side of a handshake.
//!
//! ```text
//! Flags ──client flags──▶ Options ──GO, EXPORT_NAME──▶ transmission
//!                          │  ▲  └──ABORT──▶ end
//!                          ▼  │
//!                        Passing over data that is too long
//! ```
//!
//! Invariants: (1) every option gets exactly one final reply, but for `NBD_OPT_EXPORT_NAME`;
//! (2) what was agreed by an option that failed since is not in force; (3) data past
//! [`OPTION_BYTES_MAX`] is never held.

use bytes::{Buf, BytesMut};

use super::{HandshakeError, OPTION_BYTES_MAX, OPTIONS_MAX};
use crate::disk::Device;
use crate::nbd::wire::option::{self, ContextQuery, InfoQuery, OptionHeader, code, reply};
use crate::nbd::wire::{self, EXPORT_NAME_ZEROES, handshake_flag, info};

/// Most exports in one list.
const LIST_MAX: usize = 1024;
/// The id of `base:allocation` where it was selected.
pub(crate) const ALLOCATION_ID: u32 = 1;

/// Where exports are looked up.
pub(crate) trait Catalog {
    /// What stands behind a name.
    type Export;

    /// The export of that name; an empty name asks for the default one.
    fn find(&self, name: &str) -> Option<(Self::Export, Device)>;

    /// The names that a client may see.
    fn names(&self) -> Vec<String>;
}

/// What both sides agreed on for the transmission phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The export as it was described.
    pub(crate) device: Device,
    /// Structured replies.
    pub(crate) is_structured: bool,
    /// The client may ask for block status in this metadata context.
    pub(crate) context: Option<u32>,
}

/// What follows from the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerStep<E> {
    /// More bytes are needed.
    More,
    /// Transmission begins.
    Go(E, Agreed),
    /// The client wants no more.
    End,
}

/// One connection's handshake.
#[derive(Debug)]
pub(crate) struct ServerHandshake {
    state: State,
    options: u32,
    is_structured: bool,
    /// The export for which `base:allocation` was selected last.
    selected: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Flags,
    Options { no_zeroes: bool },
    Passing { no_zeroes: bool, option: u32, rest: u32 },
}

impl ServerHandshake {
    /// A handshake at its start; it writes the greeting.
    pub(crate) fn new(out: &mut BytesMut) -> Self {
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        out.extend_from_slice(&wire::greeting(flags));
        Self { state: State::Flags, options: 0, is_structured: false, selected: None }
    }

    /// Takes what it can from `input`, and appends its replies to `out`. Bytes left in `input`
    /// after [`ServerStep::Go`] are the client's first requests.
    ///
    /// # Errors
    /// [`HandshakeError`]: the connection is closed, after `out` was written.
    pub(crate) fn step<C: Catalog>(
        &mut self,
        input: &mut BytesMut,
        catalog: &C,
        out: &mut BytesMut,
    ) -> Result<ServerStep<C::Export>, HandshakeError> {
        loop {
            match self.state {
                State::Flags => {
                    let Some(flags) = input.first_chunk::<4>() else { return Ok(ServerStep::More) };
                    self.take_flags(u32::from_be_bytes(*flags))?;
                    input.advance(4);
                }
                State::Passing { no_zeroes, option, rest } => {
                    let here = u32::try_from(input.len()).unwrap_or(u32::MAX).min(rest);
                    input.advance(usize::try_from(here).unwrap_or(0));
                    if here < rest {
                        self.state = State::Passing { no_zeroes, option, rest: rest - here };
                        return Ok(ServerStep::More);
                    }
                    option::put_reply(out, option, reply::ERR_TOO_BIG, &[]);
                    self.state = State::Options { no_zeroes };
                }
                State::Options { no_zeroes } => {
                    let Some(header) = input.first_chunk() else { return Ok(ServerStep::More) };
                    let header = OptionHeader::decode(header)?;
                    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                    if header.length > OPTION_BYTES_MAX {
                        self.count()?;
                        input.advance(option::HEADER_BYTES);
                        let (option, rest) = (header.option, header.length);
                        self.state = State::Passing { no_zeroes, option, rest };
                        continue;
                    }
                    if input.len() - option::HEADER_BYTES < length {
                        return Ok(ServerStep::More);
                    }
                    self.count()?;
                    input.advance(option::HEADER_BYTES);
                    let data = input.split_to(length);
                    let answered = self.answer(header.option, &data, catalog, no_zeroes, out)?;
                    if !matches!(answered, ServerStep::More) {
                        return Ok(answered);
                    }
                }
            }
        }
    }

    fn count(&mut self) -> Result<(), HandshakeError> {
        self.options += 1;
        if self.options > OPTIONS_MAX { Err(HandshakeError::TooMany) } else { Ok(()) }
    }

    fn take_flags(&mut self, flags: u32) -> Result<(), HandshakeError> {
        let fixed = u32::from(handshake_flag::FIXED_NEWSTYLE);
        let no_zeroes = u32::from(handshake_flag::NO_ZEROES);
        if flags & !(fixed | no_zeroes) != 0 {
            return Err(HandshakeError::Flags { flags });
        }
        self.state = State::Options { no_zeroes: flags & no_zeroes != 0 };
        Ok(())
    }

    fn answer<C: Catalog>(
        &mut self,
        option: u32,
        data: &[u8],
        catalog: &C,
        no_zeroes: bool,
        out: &mut BytesMut,
    ) -> Result<ServerStep<C::Export>, HandshakeError> {
        match option {
            code::EXPORT_NAME => return self.export_name(data, catalog, no_zeroes, out),
            code::INFO | code::GO => {
                if let Some(go) = self.info(option, data, catalog, out) {
                    return Ok(go);
                }
            }
            code::ABORT => {
                option::put_reply(out, option, reply::ACK, &[]);
                return Ok(ServerStep::End);
            }
            code::LIST => list(data, catalog, out),
            code::STRUCTURED_REPLY => {
                self.is_structured |= data.is_empty();
                let kind = if data.is_empty() { reply::ACK } else { reply::ERR_INVALID };
                option::put_reply(out, option, kind, &[]);
            }
            code::LIST_META_CONTEXT | code::SET_META_CONTEXT => {
                self.contexts(option, data, catalog, out);
            }
            // TLS is known, and not to be had here ("NOTLS mode").
            code::STARTTLS if data.is_empty() => {
                option::put_reply(out, option, reply::ERR_POLICY, &[]);
            }
            code::STARTTLS => option::put_reply(out, option, reply::ERR_INVALID, &[]),
            _unknown => option::put_reply(out, option, reply::ERR_UNSUP, &[]),
        }
        Ok(ServerStep::More)
    }

    fn export_name<C: Catalog>(
        &self,
        data: &[u8],
        catalog: &C,
        no_zeroes: bool,
        out: &mut BytesMut,
    ) -> Result<ServerStep<C::Export>, HandshakeError> {
        let name = wire::Cursor::new(data).text(data.len())?;
        let (export, device) = catalog.find(name).ok_or(HandshakeError::UnknownExport)?;
        let flags = info::flags_of(&device, self.is_structured);
        info::put_size_and_flags(out, device.size, flags);
        if !no_zeroes {
            out.resize(out.len() + EXPORT_NAME_ZEROES, 0);
        }
        Ok(ServerStep::Go(export, self.agreed(name, device)))
    }

    /// Answers `NBD_OPT_INFO` and `NBD_OPT_GO`.
    fn info<C: Catalog>(
        &self,
        option: u32,
        data: &[u8],
        catalog: &C,
        out: &mut BytesMut,
    ) -> Option<ServerStep<C::Export>> {
        let Ok(query) = InfoQuery::decode(data) else {
            option::put_reply(out, option, reply::ERR_INVALID, &[]);
            return None;
        };
        let Some((export, device)) = catalog.find(query.name) else {
            option::put_reply(out, option, reply::ERR_UNKNOWN, &[]);
            return None;
        };
        let flags = info::flags_of(&device, self.is_structured);
        option::put_reply(out, option, reply::INFO, &info::export(device.size, flags));
        option::put_reply(out, option, reply::INFO, &info::block_size(&device));
        if query.infos.contains(&info::kind::NAME) {
            option::put_reply(out, option, reply::INFO, &info::name(query.name));
        }
        option::put_reply(out, option, reply::ACK, &[]);
        (option == code::GO).then(|| ServerStep::Go(export, self.agreed(query.name, device)))
    }

    fn agreed(&self, name: &str, device: Device) -> Agreed {
        let is_selected = self.is_structured && self.selected.as_deref() == Some(name);
        let context = is_selected.then_some(ALLOCATION_ID);
        Agreed { device, is_structured: self.is_structured, context }
    }

    fn contexts<C: Catalog>(&mut self, option: u32, data: &[u8], catalog: &C, out: &mut BytesMut) {
        let is_set = option == code::SET_META_CONTEXT;
        if is_set {
            self.selected = None;
        }
        let query = ContextQuery::decode(data);
        let Ok(query) = query.and_then(|query| {
            // Without structured replies there is nothing to select.
            if self.is_structured { Ok(query) } else { Err(wire::WireError::Length) }
        }) else {
            option::put_reply(out, option, reply::ERR_INVALID, &[]);
            return;
        };
        let Some((_export, device)) = catalog.find(query.name) else {
            option::put_reply(out, option, reply::ERR_UNKNOWN, &[]);
            return;
        };
        let is_listed = !is_set && (query.is_empty || query.names_base);
        if device.abilities.can_status && (query.names_allocation || is_listed) {
            let id = if is_set { ALLOCATION_ID } else { 0 };
            let context = [&id.to_be_bytes(), option::ALLOCATION.as_bytes()].concat();
            option::put_reply(out, option, reply::META_CONTEXT, &context);
            if is_set {
                self.selected = Some(query.name.to_owned());
            }
        }
        option::put_reply(out, option, reply::ACK, &[]);
    }
}

fn list<C: Catalog>(data: &[u8], catalog: &C, out: &mut BytesMut) {
    let names = catalog.names();
    let verdict = match (data.is_empty(), names.len()) {
        (false, _) => reply::ERR_INVALID,
        (true, count) if count > LIST_MAX => reply::ERR_TOO_BIG,
        (true, _) => reply::ACK,
    };
    if verdict == reply::ACK {
        for name in names {
            let mut entry = BytesMut::new();
            option::put_text(&mut entry, &name);
            option::put_reply(out, code::LIST, reply::SERVER, &entry);
        }
    }
    option::put_reply(out, code::LIST, verdict, &[]);
}
