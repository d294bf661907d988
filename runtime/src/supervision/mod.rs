//! When a failed actor is started again, and what becomes of its children.

pub(crate) mod family;
pub(crate) mod policy;
