//! Messages that travel: what they need, and how two builds tell whether they mean the same one.
//!
//! An ordinary actix message becomes a remote one by deriving serde's traits and [`RemoteMessage`];
//! what it holds, and what answers it, derives [`Wire`]. Used on its own node it is never encoded.
//!
//! ```
//! use bytes::Bytes;
//! use serde::{Deserialize, Serialize};
//! use vioduct_runtime::{RemoteMessage, Wire};
//!
//! /// Stores a block. The data is not copied into the message's encoding: it travels behind it.
//! #[derive(actix::Message, RemoteMessage, Serialize, Deserialize)]
//! #[rtype(result = "Result<Stored, Refusal>")]
//! #[remote(name = "store.Put", version = 2)]
//! struct Put {
//!     block: u64,
//!     #[serde(skip)]
//!     #[remote(body)]
//!     data: Bytes,
//! }
//!
//! #[derive(Wire, Serialize, Deserialize)]
//! struct Stored {
//!     generation: u32,
//! }
//!
//! #[derive(Wire, Serialize, Deserialize)]
//! enum Refusal {
//!     Full,
//!     Busy { retry_ms: u32 },
//! }
//!
//! assert_eq!((Put::NAME, Put::VERSION), ("store.Put", 2));
//! let put = Put { block: 7, data: Bytes::from_static(b"data") };
//! assert_eq!(put.body(), "data");
//! ```
//!
//! # Attributes of the derive macros
//!
//! | attribute | means |
//! |---|---|
//! | `#[remote(name = "bank.Deposit")]` | a message's name in every build. Needed |
//! | `#[remote(version = 2)]` | its version, 1 without it. A changed message needs a new one |
//! | `#[remote(body)]` | this field is the body: a `Bytes` of a struct, with `#[serde(skip)]` |
//! | `#[remote(crate = "path")]` | on any type: where this crate is, if not `::vioduct_runtime` |
//!
//! `#[derive(RemoteMessage)]` makes both traits, `#[derive(Wire)]` the second alone.
//!
//! # What does not compile
//!
//! - serde attributes that change the encoding (`rename`, `skip`, `default`, `flatten`, `with`,
//!   `try_from`, `tag`, `untagged`, `transparent` and so on): the fingerprint would not see them.
//! - Type parameters and lifetimes: a message is one type.
//! - A body inside a field, since nobody would send it. [`Box`], [`Option`] and [`Result`] hand the
//!   body of what they hold on, so that `Result<Data, Refusal>` may answer a message.
//!
//!   ```compile_fail
//!   # use bytes::Bytes;
//!   # use serde::{Deserialize, Serialize};
//!   # use vioduct_runtime::Wire;
//!   #[derive(Wire, Serialize, Deserialize)]
//!   struct Data {
//!       #[serde(skip)]
//!       #[remote(body)]
//!       data: Bytes,
//!   }
//!
//!   #[derive(Wire, Serialize, Deserialize)]
//!   struct Outer {
//!       inner: Data, // A field's own body would stay behind.
//!   }
//!   ```
//! - A collection of elements that take no byte, such as `Vec<()>`: a peer could announce 2^60 of
//!   them in ten bytes.
//!
//!   ```compile_fail
//!   # use serde::{Deserialize, Serialize};
//!   # use vioduct_runtime::Wire;
//!   #[derive(Wire, Serialize, Deserialize)]
//!   struct Ticks {
//!       ticks: Vec<()>,
//!   }
//!   ```
//! - A type that contains itself, since its schema would be a cycle. It is as well: a reader of
//!   such a type would use as much stack as a peer likes. Send the parts as a list in which each
//!   names its parent by index. If it has to be the type itself, implement [`Wire`] by hand, and
//!   bound the depth in `Deserialize`.
//!
//!   ```compile_fail
//!   # use serde::{Deserialize, Serialize};
//!   # use vioduct_runtime::Wire;
//!   #[derive(Wire, Serialize, Deserialize)]
//!   struct Tree {
//!       children: Vec<Tree>,
//!   }
//!   ```
//! - [`HashMap`](std::collections::HashMap) and `HashSet`: their order would reach the wire, and
//!   differ in each run. Use [`BTreeMap`] and [`BTreeSet`].
//! - [`Bytes`] as an encoded field. It is a body, or it is a `Vec<u8>`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vioduct_certs::identity::{NodeName, Roles};

use crate::id::{ActorName, GroupName};
use crate::schema::{self, Fingerprint, Schema};

/// A value that may travel: in a message, or as its answer. [Derived](crate::message).
///
/// By hand it is implemented where serde's traits are: by a [`Schema::leaf`] whose name changes
/// when the encoding does. The encoding must hold no more elements than its bytes pay for, and nest
/// no deeper than the type says.
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {
    /// What the value looks like on the wire.
    const SCHEMA: Schema;

    /// What travels behind the encoding, without being copied. Empty for most types.
    fn body(&self) -> Bytes {
        Bytes::new()
    }

    /// Takes what travelled behind the encoding, after the value was decoded.
    ///
    /// # Errors
    /// [`StrayBody`] when the value has no place for it. The value is as it was.
    fn put_body(&mut self, body: Bytes) -> Result<(), StrayBody> {
        refuse(&body)
    }
}

/// An actix message that other nodes may send. [Derived](crate::message).
pub trait RemoteMessage: actix::Message<Result: Wire> + Wire {
    /// Its name in every build, unique in the cluster: 1 to 128 bytes, no control characters.
    const NAME: &'static str;
    /// Its version, from 1. Messages of one name and different versions are different messages.
    const VERSION: u16;
}

/// A body came with a value that has no place for one. Fault: the peer's build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a body came with a value that has none")]
pub struct StrayBody;

/// Stands for a message's name and version in what nodes agree on. The same in every build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey(pub u64);

impl MessageKey {
    /// The key of `M`.
    #[must_use]
    pub const fn of<M: RemoteMessage>() -> Self {
        const { Self(schema::key(M::NAME, M::VERSION)) }
    }
}

/// What two builds compare before a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageType {
    /// [`RemoteMessage::NAME`].
    pub name: &'static str,
    /// [`RemoteMessage::VERSION`].
    pub version: u16,
    /// Stands for name and version.
    pub key: MessageKey,
    /// Covers the message and its result.
    pub fingerprint: Fingerprint,
}

impl MessageType {
    /// The type of `M`.
    #[must_use]
    pub const fn of<M: RemoteMessage>() -> Self {
        const {
            let pair = Schema::leaf("message").handing_on(<M as Wire>::SCHEMA);
            let fingerprint = pair.handing_on(<M::Result as Wire>::SCHEMA).fingerprint();
            Self { name: M::NAME, version: M::VERSION, key: MessageKey::of::<M>(), fingerprint }
        }
    }
}

fn refuse(body: &Bytes) -> Result<(), StrayBody> {
    if body.is_empty() { Ok(()) } else { Err(StrayBody) }
}

macro_rules! leaves {
    ($($leaf:ident)+) => {
        $(impl Wire for $leaf {
            const SCHEMA: Schema = Schema::leaf(stringify!($leaf));
        })+
    };
}

leaves!(bool char String);
leaves!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
leaves!(Duration IpAddr Ipv4Addr Ipv6Addr SocketAddr NodeName Roles ActorName GroupName);

impl Wire for () {
    const SCHEMA: Schema = Schema::empty("()");
}

/// A box is not seen on the wire.
impl<T: Wire> Wire for Box<T> {
    const SCHEMA: Schema = T::SCHEMA;

    fn body(&self) -> Bytes {
        T::body(self)
    }

    fn put_body(&mut self, body: Bytes) -> Result<(), StrayBody> {
        T::put_body(self, body)
    }
}

impl<T: Wire> Wire for Option<T> {
    const SCHEMA: Schema = Schema::leaf("Option").handing_on(T::SCHEMA);

    fn body(&self) -> Bytes {
        self.as_ref().map_or_else(Bytes::new, T::body)
    }

    fn put_body(&mut self, body: Bytes) -> Result<(), StrayBody> {
        match self {
            Some(value) => value.put_body(body),
            None => refuse(&body),
        }
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    const SCHEMA: Schema = Schema::leaf("Result").handing_on(T::SCHEMA).of(E::SCHEMA);

    fn body(&self) -> Bytes {
        self.as_ref().map_or_else(|_refused| Bytes::new(), T::body)
    }

    fn put_body(&mut self, body: Bytes) -> Result<(), StrayBody> {
        match self {
            Ok(value) => value.put_body(body),
            Err(_) => refuse(&body),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    const SCHEMA: Schema = Schema::leaf("Vec").each(T::SCHEMA);
}

impl<T: Wire> Wire for VecDeque<T> {
    const SCHEMA: Schema = Schema::leaf("VecDeque").each(T::SCHEMA);
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    const SCHEMA: Schema = Schema::leaf("BTreeSet").each(T::SCHEMA);
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    const SCHEMA: Schema = Schema::leaf("BTreeMap")
        .each(Schema::empty("entry").and("key", K::SCHEMA).and("value", V::SCHEMA));
}

macro_rules! arrays {
    ($($len:literal)+) => {
        $(impl<T: Wire> Wire for [T; $len] {
            const SCHEMA: Schema =
                Schema::empty(concat!("array of ", $len)).and("element", T::SCHEMA);
        })+
    };
}

arrays!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);

macro_rules! tuples {
    ($($(($part:ident $name:literal))+;)+) => {
        $(impl<$($part: Wire),+> Wire for ($($part,)+) {
            const SCHEMA: Schema = Schema::empty("tuple")$(.and($name, $part::SCHEMA))+;
        })+
    };
}

tuples! {
    (A "0");
    (A "0") (B "1");
    (A "0") (B "1") (C "2");
    (A "0") (B "1") (C "2") (D "3");
    (A "0") (B "1") (C "2") (D "3") (E "4");
    (A "0") (B "1") (C "2") (D "3") (E "4") (F "5");
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
