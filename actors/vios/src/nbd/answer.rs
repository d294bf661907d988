//! What a client is told of a request. Pure.
//!
//! With structured replies agreed on, reads and errors are chunks, and what has neither content
//! nor error is a simple reply, which is shorter (NBD proto.md, "Simple reply message").

use super::admission::{Form, Order, RUNS_MAX};
use super::handshake::Agreed;
use super::outgoing::Outgoing;
use super::wire::{code, reply};
use crate::block::{Failure, Reply, Run};

/// Puts in the reply to a request that the disk has ended.
pub(crate) fn finish(
    outgoing: &mut Outgoing,
    agreed: &Agreed,
    order: Order,
    result: Result<Reply, Failure>,
) {
    match result.and_then(|reply| put(outgoing, agreed, order, reply)) {
        Ok(()) => {}
        Err(failure) => {
            // The protocol has no other use for this value than zeroes that are not fast.
            let error = match (failure, order.form) {
                (Failure::NotSupported, Form::Data | Form::Written | Form::Status { .. }) => {
                    code::INVAL
                }
                (failure, _) => code::of(failure),
            };
            refuse_with(outgoing, agreed, order, error, &failure.to_string());
        }
    }
}

/// Puts in the reply to a request of no length.
pub(crate) fn empty(outgoing: &mut Outgoing, agreed: &Agreed, order: Order) {
    if agreed.is_structured && order.form == Form::Data {
        outgoing.head(|out| reply::put_none(out, order.cookie));
    } else {
        outgoing.head(|out| reply::put_simple(out, order.cookie, 0));
    }
}

/// Puts in an error value.
pub(crate) fn refuse(outgoing: &mut Outgoing, agreed: &Agreed, order: Order, error: u32) {
    refuse_with(outgoing, agreed, order, error, "");
}

fn refuse_with(outgoing: &mut Outgoing, agreed: &Agreed, order: Order, error: u32, text: &str) {
    if agreed.is_structured {
        outgoing.head(|out| reply::put_error(out, order.cookie, error, text));
    } else {
        outgoing.head(|out| reply::put_simple(out, order.cookie, error));
    }
}

/// # Errors
/// [`Failure::Io`] if this is no reply to such a request: the disk's fault.
fn put(
    outgoing: &mut Outgoing,
    agreed: &Agreed,
    order: Order,
    reply: Reply,
) -> Result<(), Failure> {
    let (cookie, extent) = (order.cookie, order.extent);
    match (order.form, reply) {
        (Form::Done | Form::Written, Reply::Done) => {
            outgoing.head(|out| reply::put_simple(out, cookie, 0));
            Ok(())
        }
        (Form::Data, Reply::Data(data)) if u32::try_from(data.len()) == Ok(extent.length) => {
            outgoing.head(|out| {
                if agreed.is_structured {
                    reply::put_data(out, cookie, extent.offset, extent.length);
                } else {
                    reply::put_simple(out, cookie, 0);
                }
            });
            outgoing.payload(data);
            Ok(())
        }
        (Form::Status { context, only_one }, Reply::Status(runs)) => {
            let runs = told(runs, extent.length, only_one).ok_or(Failure::Io)?;
            outgoing.head(|out| reply::put_status(out, cookie, context, &runs));
            Ok(())
        }
        (Form::Done | Form::Written | Form::Data | Form::Status { .. }, _) => Err(Failure::Io),
    }
}

/// The runs that may be told: none empty, none that begins behind the `length` bytes asked for;
/// `None` if nothing is left.
fn told(mut runs: Vec<Run>, length: u32, only_one: bool) -> Option<Vec<Run>> {
    runs.truncate(if only_one { 1 } else { RUNS_MAX });
    let mut rest = length;
    runs.retain_mut(|run| {
        run.length = run.length.min(rest);
        rest -= run.length;
        run.length > 0
    });
    (!runs.is_empty()).then_some(runs)
}
