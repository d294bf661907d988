//! What the cluster has agreed on, in its database: that it is there, and which VIOSes belong to
//! it.
//!
//! | module | |
//! |---|---|
//! | [`row`] | the tables, and their rows as bytes |
//! | [`admin`] | what operators change |
//! | [`registration`] | whether a VIOS that registers is one of the cluster's: pure |
//! | [`local`] | a VIOS's two local stores |
//! | `primary` | which VIOS does what is done once in a cluster |
//! | [`cm`] | cluster management: the actor that registers it, and follows what changes |

pub mod admin;
pub mod cm;
mod follow;
pub mod local;
mod primary;
pub mod registration;
pub mod row;
