//! The virtual SCSI adapter: what a VIOS is to the owners of its clients' disks.
//!
//! ```text
//!   ClientLpar ── calls ──▶ Vsa ── calls, by owner ──▶ Redirect
//!        ▲                  │ ▲                            │
//!        ╰───── words ──────╯ ╰────────── words ───────────╯
//! ```
//!
//! It knows the owners and their LUs, and what a disk is and can do. It lives on the worker of the
//! redirect actor, which chooses the way of each session.

mod actor;
mod inquiry;
mod login;

use vioduct_runtime::Accepts;

pub use self::actor::Vsa;
pub(crate) use self::actor::{FromVsa, Ordered, ToOwner};
pub(crate) use self::inquiry::find_model;
pub use self::inquiry::{Inquire, Model, NotKnown};
pub use self::login::{AdapterInUse, Adapters, AskAdapters, Client, Exit, VsaDesk};
pub(crate) use self::login::{Came, LoggedIn, TellWhoComes};
use crate::carry::CarriedCall;

/// The name of a VIOS's VSA among the actors of its node.
pub const VSA_NAME: &str = "vios.vsa";

/// What a VSA takes of the owners that use it.
#[derive(Debug)]
pub struct Adapter;

impl Accepts<CarriedCall> for Adapter {}

impl Accepts<Inquire> for Adapter {}
