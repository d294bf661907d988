//! The storage actor and its volume: one file, and the record of the highest epoch beside it.
//!
//! The volume admits exactly the open epoch, reads and flushes too, and looks when a request is
//! handed to the device, not when it arrives. It runs on a thread of its own, or for comparison on
//! the actor's; `SyncArbiter` is no choice, as its queue has no bound.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use actix::{Actor, Context, Handler};
use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use vioduct_certs::files::write_atomic;

use crate::names::not_taken;
use crate::trace::Mark;
use crate::wire::{Answer, Call, Epoch, Question, Request, Status};

/// Size of the disk.
pub(crate) const DISK_BYTES: u64 = 4 << 20;
/// Longest read or write.
pub(crate) const TRANSFER_BYTES_MAX: u32 = 1 << 20;
/// Calls on their way to the device, and calls in the mailbox.
const QUEUED_MAX: usize = 64;

/// The disk.
#[derive(Debug)]
pub(crate) struct Volume {
    disk: File,
    record: PathBuf,
    /// The highest epoch ever opened, as the record says.
    highest: Epoch,
    /// The epoch that is admitted. None after a start.
    open: Option<Epoch>,
}

impl Volume {
    /// Opens the volume in `dir`, made if it is not there. Blocks.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let (path, record) = (dir.join("disk"), dir.join("epoch"));
        let disk =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        disk.set_len(DISK_BYTES)?;
        let highest = match fs::read_to_string(&record) {
            Ok(text) => parse(&text).context("the record holds no epoch")?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Epoch::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { disk, record, highest, open: None })
    }

    /// Performs a request, or refuses its epoch. Blocks.
    pub(crate) fn perform(&mut self, question: &mut Question) -> Answer {
        question.trace.mark(Mark::Device);
        let epoch = question.epoch;
        let done = match &question.request {
            Request::Open if epoch > self.highest => self.admit(epoch),
            Request::Read { .. } | Request::Write { .. } | Request::Flush
                if self.open == Some(epoch) =>
            {
                self.device(&question.request)
            }
            refused => {
                println!("refused {} of ({}, {})", kind(refused), epoch.owner, epoch.seq);
                return Answer::bare(Status::Refused, self.highest, question.trace);
            }
        };
        question.trace.mark(Mark::Done);
        match done {
            Ok(body) => Answer { status: Status::Done, epoch, body, trace: question.trace },
            Err(_error) => Answer::bare(Status::Failed, epoch, question.trace),
        }
    }

    /// The older epoch ends with the first line: what is queued of it is refused from here on.
    fn admit(&mut self, epoch: Epoch) -> io::Result<Bytes> {
        self.open = None;
        let text = format!("{} {}", epoch.owner, epoch.seq);
        write_atomic(&self.record, text.as_bytes(), 0o600).map_err(io::Error::other)?;
        self.highest = epoch;
        self.open = Some(epoch);
        Ok(Bytes::new())
    }

    fn device(&self, request: &Request) -> io::Result<Bytes> {
        match request {
            Request::Open => {}
            Request::Read { offset, length } => {
                if *length > TRANSFER_BYTES_MAX {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let mut body = BytesMut::zeroed(*length as usize);
                self.disk.read_exact_at(&mut body, *offset)?;
                return Ok(body.freeze());
            }
            Request::Write { offset, body } if *offset + body.len() as u64 <= DISK_BYTES => {
                self.disk.write_all_at(body, *offset)?;
            }
            Request::Write { .. } => return Err(io::ErrorKind::InvalidInput.into()),
            Request::Flush => self.disk.sync_data()?,
        }
        Ok(Bytes::new())
    }
}

fn parse(text: &str) -> Option<Epoch> {
    let (owner, seq) = text.split_once(' ')?;
    Some(Epoch { owner: owner.parse().ok()?, seq: seq.parse().ok()? })
}

const fn kind(request: &Request) -> &'static str {
    match request {
        Request::Open => "open",
        Request::Read { .. } => "read",
        Request::Write { .. } => "write",
        Request::Flush => "flush",
    }
}

/// Gives calls to the volume.
#[derive(Debug)]
pub(crate) enum Storage {
    /// The volume's own thread, which ends with this.
    Thread(SyncSender<Call>),
    /// The arbiter's, which stands still meanwhile.
    Inline(Volume),
}

impl Storage {
    pub(crate) fn on_thread(volume: Volume) -> Self {
        let (calls, queued) = sync_channel(QUEUED_MAX);
        std::thread::spawn(move || serve(volume, queued));
        Self::Thread(calls)
    }
}

fn serve(mut volume: Volume, queued: Receiver<Call>) {
    for Call { mut question, reply } in queued {
        reply.send(volume.perform(&mut question));
    }
}

impl Actor for Storage {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(QUEUED_MAX);
    }
}

impl Handler<Call> for Storage {
    type Result = ();

    fn handle(&mut self, mut call: Call, _ctx: &mut Self::Context) {
        call.question.trace.mark(Mark::Storage);
        match self {
            Self::Inline(volume) => call.reply.send(volume.perform(&mut call.question)),
            Self::Thread(calls) => {
                if let Err(TrySendError::Full(call) | TrySendError::Disconnected(call)) =
                    calls.try_send(call)
                {
                    not_taken(call);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(volume: &mut Volume, seq: u64, request: Request) -> (Status, Bytes) {
        let epoch = Epoch { owner: 1, seq };
        let mut question = Question { epoch, request, trace: Default::default() };
        let answer = volume.perform(&mut question);
        (answer.status, answer.body)
    }

    #[test]
    fn only_the_open_epoch_is_admitted_and_a_restart_remembers_it() {
        let dir = std::env::temp_dir().join(format!("vioduct-volume-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (old, new) = (Bytes::from_static(b"old!"), Bytes::from_static(b"new!"));
        let write = |body: &Bytes| Request::Write { offset: 8, body: body.clone() };
        let mut volume = Volume::open(&dir).unwrap();
        assert_eq!(ask(&mut volume, 1, write(&old)).0, Status::Refused);
        assert_eq!(ask(&mut volume, 1, Request::Open).0, Status::Done);
        assert_eq!(ask(&mut volume, 1, write(&old)).0, Status::Done);
        assert_eq!(ask(&mut volume, 2, Request::Open).0, Status::Done);
        assert_eq!(ask(&mut volume, 2, write(&new)).0, Status::Done);
        let read = Request::Read { offset: 8, length: 4 };
        for late in [Request::Open, write(&old), read.clone(), Request::Flush] {
            assert_eq!(ask(&mut volume, 1, late).0, Status::Refused);
        }
        let mut volume = Volume::open(&dir).unwrap();
        for epoch in [1, 2] {
            assert_eq!(ask(&mut volume, epoch, Request::Open).0, Status::Refused);
        }
        assert_eq!(ask(&mut volume, 2, read.clone()).0, Status::Refused);
        assert_eq!(ask(&mut volume, 3, Request::Open).0, Status::Done);
        assert_eq!(ask(&mut volume, 3, read), (Status::Done, new));
        fs::remove_dir_all(&dir).unwrap();
    }
}
