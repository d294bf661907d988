//! Our NBD server and client against each other, against raw bytes, and against the clients and
//! servers that others wrote.
#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

mod allocation;
mod bounds;
mod clients;
mod exports;
mod hostile_server;
mod raw;
mod requests;
mod served;
mod servers;
mod stuck;
mod tool;
mod wrong_client;
