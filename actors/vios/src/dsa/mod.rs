//! Distributed storage access: how the ways from a VIOS to the storage do.

pub mod limits;
pub mod path;
