//! What the cluster has agreed on, in its database: that it is there, and which VIOSes belong to
//! it.
//!
//! | module | |
//! |---|---|
//! | [`row`] | the tables, and their rows as bytes |
//! | [`admin`] | what operators change |
//! | [`registration`] | whether a VIOS that registers is one of the cluster's: pure |
//! | [`view`] | what a node knows of the rows |
//! | [`local`] | a node's two local stores |
//! | `keeper`, `follow` | keep a view as the database is |
//! | `registrar` | registers a VIOS |
//! | `primary`, `steward` | which VIOS does what is done once in a cluster; what that is |
//! | [`event`], `herald`, [`feed`] | what happens to nodes, and how the others get to know it |
//! | [`cm`], [`known`] | cluster management: the actor that tells how far that is, what is known |

pub mod admin;
pub mod cm;
pub mod event;
pub mod feed;
mod follow;
mod herald;
mod keeper;
pub mod known;
pub mod local;
mod primary;
mod registrar;
pub mod registration;
pub mod row;
mod steward;
pub mod view;

/// An error and what it comes from, in one line.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
