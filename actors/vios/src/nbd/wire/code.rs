//! "Error values": what a reply says of a failure.

use crate::block::Failure;

/// `NBD_EPERM`.
pub(crate) const PERM: u32 = 1;
/// `NBD_EIO`.
pub(crate) const IO: u32 = 5;
/// `NBD_ENOMEM`.
pub(crate) const NOMEM: u32 = 12;
/// `NBD_EINVAL`.
pub(crate) const INVAL: u32 = 22;
/// `NBD_ENOSPC`.
pub(crate) const NOSPC: u32 = 28;
/// `NBD_EOVERFLOW`.
pub(crate) const OVERFLOW: u32 = 75;
/// `NBD_ENOTSUP`.
pub(crate) const NOTSUP: u32 = 95;
/// `NBD_ESHUTDOWN`.
pub(crate) const SHUTDOWN: u32 = 108;

/// The value for a failure.
pub(crate) fn of(failure: Failure) -> u32 {
    match failure {
        Failure::Io => IO,
        Failure::NoSpace => NOSPC,
        Failure::Invalid => INVAL,
        Failure::ReadOnly => PERM,
        Failure::NotSupported => NOTSUP,
        Failure::ShuttingDown => SHUTDOWN,
    }
}

/// The failure that a value stands for. A value that the protocol does not know counts as
/// `NBD_EINVAL`, as it asks of clients; memory that ran out over there is no fault of the request.
pub(crate) fn failure(value: u32) -> Failure {
    match value {
        PERM => Failure::ReadOnly,
        IO | NOMEM => Failure::Io,
        NOSPC => Failure::NoSpace,
        NOTSUP => Failure::NotSupported,
        SHUTDOWN => Failure::ShuttingDown,
        INVAL | OVERFLOW => Failure::Invalid,
        _unknown => Failure::Invalid,
    }
}
