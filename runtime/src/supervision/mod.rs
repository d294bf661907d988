//! When a failed actor is started again.

pub(crate) mod policy;
