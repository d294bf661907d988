//! What travels of a call or a word besides its data.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vioduct_runtime::Wire;

use super::{CarryError, RUNS_MAX};
use crate::block::{Extent, Failure, Reply, Request, Run};
use crate::redirect::Epoch;
use crate::redirect::message::{Call, Why, Word};
use crate::redirect::name::{Holder, Identity, Life, OwnerId, ViosId};

/// An epoch: its owner's number, and the owner's count.
type EpochHead = (u64, u64);
/// An identity: volume, boot and losses.
type IdentHead = (u128, u128, u64);
/// An extent: offset and length.
type ExtentHead = (u64, u32);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Wire)]
pub(super) enum CallHead {
    Open { epoch: EpochHead, holder: u64, hop: u8, avoid: Option<u32> },
    Request { epoch: EpochHead, no: u64, request: RequestHead },
    Flush { epoch: EpochHead, no: u64, settle: bool },
    Close { epoch: EpochHead },
    Stay { epoch: EpochHead, beat: u64 },
}

/// No flush: that is a call of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Wire)]
pub(super) enum RequestHead {
    Read { extent: ExtentHead },
    Write { offset: u64, fua: bool },
    Trim { extent: ExtentHead, fua: bool },
    WriteZeroes { extent: ExtentHead, fua: bool, may_punch: bool, only_fast: bool },
    Status { extent: ExtentHead },
    Flush,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Wire)]
pub(super) enum WordHead {
    Via { epoch: EpochHead, exit: u32 },
    Opened { epoch: EpochHead, life: u64, identity: IdentHead, settled: IdentHead, size: u64 },
    Draining { epoch: EpochHead },
    Refused { epoch: EpochHead, highest: EpochHead, holder: u64 },
    Gone { epoch: EpochHead },
    NoPath { epoch: EpochHead },
    Answer { epoch: EpochHead, no: u64, outcome: Result<ReplyHead, FailureHead> },
    Alive { epoch: EpochHead, taken: u64, answered: u64 },
    Down { epoch: EpochHead, why: WhyHead },
    Better { epoch: EpochHead },
    Closed { epoch: EpochHead },
    Lease { epoch: EpochHead, beat: u64 },
    Void { epoch: EpochHead, no: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Wire)]
pub(super) enum ReplyHead {
    Done,
    /// The data itself comes behind.
    Data,
    /// Length, whether it is a hole, whether it reads as zero.
    Status(Vec<(u32, bool, bool)>),
}

/// One enum as it travels, beside the machines' own.
macro_rules! twins {
    ($twin:ident of $own:ident: $($name:ident),+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Wire)]
        pub(super) enum $twin {
            $($name),+
        }

        impl From<$own> for $twin {
            fn from(own: $own) -> Self {
                match own {
                    $($own::$name => Self::$name),+
                }
            }
        }

        impl From<$twin> for $own {
            fn from(twin: $twin) -> Self {
                match twin {
                    $($twin::$name => Self::$name),+
                }
            }
        }
    };
}

twins!(FailureHead of Failure: Io, NoSpace, Invalid, ReadOnly, NotSupported, ShuttingDown);
twins!(WhyHead of Why: FabricLost, ConnectionLost, NotOpen, Superseded, OutOfStep, Spoilt,
    FsyncFailed, Silent, Moved, Aborted);

impl CallHead {
    pub(super) fn split(call: Call) -> (Self, Bytes) {
        let mut behind = Bytes::new();
        let head = match call {
            Call::Open { epoch, holder: Holder(holder), hop, avoid } => {
                let avoid = avoid.map(|ViosId(vios)| vios);
                Self::Open { epoch: of_epoch(epoch), holder, hop, avoid }
            }
            Call::Request { epoch, no, request } => {
                let request = RequestHead::split(request, &mut behind);
                Self::Request { epoch: of_epoch(epoch), no, request }
            }
            Call::Flush { epoch, no, settle } => Self::Flush { epoch: of_epoch(epoch), no, settle },
            Call::Close { epoch } => Self::Close { epoch: of_epoch(epoch) },
            Call::Stay { epoch, beat } => Self::Stay { epoch: of_epoch(epoch), beat },
        };
        (head, behind)
    }

    pub(super) fn join(self, mut data: Bytes) -> Result<Call, CarryError> {
        let call = match self {
            Self::Open { epoch, holder, hop, avoid } => {
                let (holder, avoid) = (Holder(holder), avoid.map(ViosId));
                Call::Open { epoch: epoch_of(epoch), holder, hop, avoid }
            }
            Self::Request { epoch, no, request } => {
                let request = request.join(&mut data)?;
                Call::Request { epoch: epoch_of(epoch), no, request }
            }
            Self::Flush { epoch, no, settle } => Call::Flush { epoch: epoch_of(epoch), no, settle },
            Self::Close { epoch } => Call::Close { epoch: epoch_of(epoch) },
            Self::Stay { epoch, beat } => Call::Stay { epoch: epoch_of(epoch), beat },
        };
        nothing_left(&data)?;
        Ok(call)
    }
}

impl RequestHead {
    fn split(request: Request, behind: &mut Bytes) -> Self {
        match request {
            Request::Read { extent } => Self::Read { extent: of_extent(extent) },
            Request::Write { offset, data, fua } => {
                *behind = data;
                Self::Write { offset, fua }
            }
            Request::Trim { extent, fua } => Self::Trim { extent: of_extent(extent), fua },
            Request::WriteZeroes { extent, fua, may_punch, only_fast } => {
                Self::WriteZeroes { extent: of_extent(extent), fua, may_punch, only_fast }
            }
            Request::Status { extent } => Self::Status { extent: of_extent(extent) },
            Request::Flush => Self::Flush,
        }
    }

    fn join(self, data: &mut Bytes) -> Result<Request, CarryError> {
        Ok(match self {
            Self::Read { extent } => Request::Read { extent: extent_of(extent) },
            Self::Write { offset, fua } => {
                let data = std::mem::take(data);
                let bytes = data.len();
                if u32::try_from(bytes).is_err() {
                    return Err(CarryError::TooLong { bytes });
                }
                Request::Write { offset, data, fua }
            }
            Self::Trim { extent, fua } => Request::Trim { extent: extent_of(extent), fua },
            Self::WriteZeroes { extent, fua, may_punch, only_fast } => {
                Request::WriteZeroes { extent: extent_of(extent), fua, may_punch, only_fast }
            }
            Self::Status { extent } => Request::Status { extent: extent_of(extent) },
            Self::Flush => Request::Flush,
        })
    }
}

impl WordHead {
    pub(super) fn split(word: Word) -> (Self, Bytes) {
        let mut behind = Bytes::new();
        let head = match word {
            Word::Via { epoch, exit: ViosId(exit) } => Self::Via { epoch: of_epoch(epoch), exit },
            Word::Opened { epoch, life: Life(life), identity, settled, size } => Self::Opened {
                epoch: of_epoch(epoch),
                life,
                identity: of_identity(identity),
                settled: of_identity(settled),
                size,
            },
            Word::Draining { epoch } => Self::Draining { epoch: of_epoch(epoch) },
            Word::Refused { epoch, highest, holder: Holder(holder) } => {
                Self::Refused { epoch: of_epoch(epoch), highest: of_epoch(highest), holder }
            }
            Word::Gone { epoch } => Self::Gone { epoch: of_epoch(epoch) },
            Word::NoPath { epoch } => Self::NoPath { epoch: of_epoch(epoch) },
            Word::Answer { epoch, no, outcome } => {
                let reply = outcome.map(|reply| ReplyHead::split(reply, &mut behind));
                let outcome = reply.map_err(FailureHead::from);
                Self::Answer { epoch: of_epoch(epoch), no, outcome }
            }
            Word::Alive { epoch, taken, answered } => {
                Self::Alive { epoch: of_epoch(epoch), taken, answered }
            }
            Word::Down { epoch, why } => Self::Down { epoch: of_epoch(epoch), why: why.into() },
            Word::Better { epoch } => Self::Better { epoch: of_epoch(epoch) },
            Word::Closed { epoch } => Self::Closed { epoch: of_epoch(epoch) },
            Word::Lease { epoch, beat } => Self::Lease { epoch: of_epoch(epoch), beat },
            Word::Void { epoch, no } => Self::Void { epoch: of_epoch(epoch), no },
        };
        (head, behind)
    }

    pub(super) fn join(self, mut data: Bytes) -> Result<Word, CarryError> {
        let word = match self {
            Self::Via { epoch, exit } => Word::Via { epoch: epoch_of(epoch), exit: ViosId(exit) },
            Self::Opened { epoch, life, identity, settled, size } => Word::Opened {
                epoch: epoch_of(epoch),
                life: Life(life),
                identity: identity_of(identity),
                settled: identity_of(settled),
                size,
            },
            Self::Draining { epoch } => Word::Draining { epoch: epoch_of(epoch) },
            Self::Refused { epoch, highest, holder } => {
                let (highest, holder) = (epoch_of(highest), Holder(holder));
                Word::Refused { epoch: epoch_of(epoch), highest, holder }
            }
            Self::Gone { epoch } => Word::Gone { epoch: epoch_of(epoch) },
            Self::NoPath { epoch } => Word::NoPath { epoch: epoch_of(epoch) },
            Self::Answer { epoch, no, outcome } => {
                let outcome = match outcome {
                    Ok(reply) => Ok(reply.join(&mut data)?),
                    Err(failure) => Err(failure.into()),
                };
                Word::Answer { epoch: epoch_of(epoch), no, outcome }
            }
            Self::Alive { epoch, taken, answered } => {
                Word::Alive { epoch: epoch_of(epoch), taken, answered }
            }
            Self::Down { epoch, why } => Word::Down { epoch: epoch_of(epoch), why: why.into() },
            Self::Better { epoch } => Word::Better { epoch: epoch_of(epoch) },
            Self::Closed { epoch } => Word::Closed { epoch: epoch_of(epoch) },
            Self::Lease { epoch, beat } => Word::Lease { epoch: epoch_of(epoch), beat },
            Self::Void { epoch, no } => Word::Void { epoch: epoch_of(epoch), no },
        };
        nothing_left(&data)?;
        Ok(word)
    }
}

impl ReplyHead {
    fn split(reply: Reply, behind: &mut Bytes) -> Self {
        match reply {
            Reply::Done => Self::Done,
            Reply::Data(data) => {
                *behind = data;
                Self::Data
            }
            Reply::Status(runs) => {
                let run = |run: Run| (run.length, run.is_hole, run.is_zero);
                Self::Status(runs.into_iter().take(RUNS_MAX).map(run).collect())
            }
        }
    }

    fn join(self, data: &mut Bytes) -> Result<Reply, CarryError> {
        match self {
            Self::Done => Ok(Reply::Done),
            Self::Data => Ok(Reply::Data(std::mem::take(data))),
            Self::Status(runs) if runs.len() > RUNS_MAX => {
                Err(CarryError::TooManyRuns { runs: runs.len() })
            }
            Self::Status(runs) => {
                let run = |(length, is_hole, is_zero)| Run { length, is_hole, is_zero };
                Ok(Reply::Status(runs.into_iter().map(run).collect()))
            }
        }
    }
}

fn nothing_left(data: &Bytes) -> Result<(), CarryError> {
    if data.is_empty() { Ok(()) } else { Err(CarryError::StrayData) }
}

fn of_epoch(Epoch { owner: OwnerId(owner), seq }: Epoch) -> EpochHead {
    (owner, seq)
}

fn epoch_of((owner, seq): EpochHead) -> Epoch {
    Epoch { owner: OwnerId(owner), seq }
}

fn of_extent(Extent { offset, length }: Extent) -> ExtentHead {
    (offset, length)
}

fn extent_of((offset, length): ExtentHead) -> Extent {
    Extent { offset, length }
}

fn of_identity(Identity { volume, boot, losses }: Identity) -> IdentHead {
    (volume, boot, losses)
}

fn identity_of((volume, boot, losses): IdentHead) -> Identity {
    Identity { volume, boot, losses }
}
