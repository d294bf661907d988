//! Lanes: ordered message streams of a link that outlive the connections they ride on.

pub(crate) mod order;
pub(crate) mod queue;
pub(crate) mod reader;
pub(crate) mod writer;
