//! Any bytes of a lane, cut anywhere: see `properties/frames.rs`.
#![no_main]

#[path = "../properties/frames.rs"]
mod frames;

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (pieces, bytes) = input;
    frames::check(&pieces, &bytes);
});
