//! Derives what a message needs to travel between nodes.
//!
//! Both macros are used by way of `vioduct_runtime`, whose module `message` has the attributes, an
//! example and the list of what does not compile.
//!
//! What they write, for `struct Put { block: u64, data: Bytes }` named `store.Put`:
//!
//! ```text
//! impl Wire for Put {
//!     const SCHEMA: Schema =
//!         Schema::empty("Put").and("block", <u64 as Wire>::SCHEMA).with_body("data");
//!     fn body(&self) -> Bytes { … }
//!     fn put_body(&mut self, body: Bytes) -> Result<(), StrayBody> { … }
//! }
//! impl RemoteMessage for Put { const NAME: &'static str = "store.Put"; const VERSION: u16 = 1; }
//! const _: MessageType = MessageType::of::<Put>();    // A schema that is refused is refused here.
//! ```

mod attributes;
mod expand;
mod shape;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

use crate::expand::Derive;

/// Makes a type one that may travel: in a message, or as its answer. It derives serde's traits too.
///
/// See the module `message` of `vioduct_runtime`.
#[proc_macro_derive(Wire, attributes(remote))]
pub fn wire(input: TokenStream) -> TokenStream {
    derive(Derive::Wire, &parse_macro_input!(input as DeriveInput))
}

/// Makes an actix message one that other nodes may send; `Wire` comes with it. It derives serde's
/// traits too.
///
/// See the module `message` of `vioduct_runtime`.
#[proc_macro_derive(RemoteMessage, attributes(remote))]
pub fn remote_message(input: TokenStream) -> TokenStream {
    derive(Derive::RemoteMessage, &parse_macro_input!(input as DeriveInput))
}

fn derive(derive: Derive, input: &DeriveInput) -> TokenStream {
    expand::expand(derive, input).unwrap_or_else(syn::Error::into_compile_error).into()
}
