//! Any bytes in the place of a handshake message: see `properties/handshake.rs`.
#![no_main]

#[path = "../properties/handshake.rs"]
mod handshake;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    handshake::check(bytes);
});
