//! The virtual I/O server: a client's disk that survives the loss of its storage path.
//!
//! Its actors: the owner of a client's disk ([`lpar`]), a VIOS ([`vsa`], [`cke`]), which watches
//! its ways to the storage ([`dsa`]), and the storage ([`repository`], [`outside`]). They are the
//! hands of the redirect protocol's machines ([`redirect`]), whose messages travel as [`carry`]
//! says, to a repository by the [`fabric`].
//!
//! A node of a cluster starts them by its [`roles`]; which VIOSes there are, its database knows
//! ([`cluster`]).
//!
//! A disk is whatever takes requests ([`block`], [`disk`]): a client's, a local file
//! ([`mod@file`]), a remote NBD server; any of them can be served over NBD ([`nbd`]).

pub mod api;
pub mod block;
pub mod carry;
pub mod cke;
mod clock;
pub mod cluster;
pub mod copy;
pub mod disk;
pub mod dsa;
pub mod fabric;
pub mod file;
mod lock;
pub mod lpar;
pub mod nbd;
pub mod outside;
pub mod redirect;
pub mod repository;
pub mod roles;
mod seek;
pub mod vsa;
mod way;
