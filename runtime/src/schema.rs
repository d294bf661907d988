//! What a message looks like on the wire, as one number.
//!
//! A [`Schema`] is a constant that follows a type's shape: its name, its fields or variants in
//! their order, each with its name and its own schema. The derive macros write it. Two builds
//! compare the [`Fingerprint`]s of a message before the first one travels, so that a changed type
//! is an error that names both, and never bytes read as something else.
//!
//! The hash is FNV-1a of 64 bits over tagged, length-prefixed parts. It finds mistakes; against
//! somebody who looks for two types of one fingerprint it is no defence, and needs to be none: what
//! is decoded is checked all the same.
//!
//! Invariants: (1) a fingerprint depends on the types alone, not on compiler, platform or the order
//! of compilation; (2) the hash of a released schema never changes (golden values in the tests).

use std::fmt;

pub(crate) const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

const TYPE: u8 = 1;
const FIELD: u8 = 2;
const VARIANT: u8 = 3;
const ARGUMENT: u8 = 4;
const BODY: u8 = 5;
const KEY: u8 = 6;

/// What one type looks like on the wire. Made at compile time.
///
/// By hand it is only needed for a type whose serde implementation is written by hand:
///
/// ```
/// use vioduct_runtime::schema::Schema;
///
/// // Ten bytes, always: a new layout gets a new name.
/// const MAC_AND_VLAN: Schema = Schema::leaf("net.MacAndVlan/1");
/// assert_ne!(MAC_AND_VLAN.fingerprint(), Schema::leaf("net.MacAndVlan/2").fingerprint());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    hash: u64,
    is_empty: bool,
    has_body: bool,
}

impl Schema {
    /// A type with nothing inside that differs between builds. Its encoding takes at least one
    /// byte.
    ///
    /// The name stands for the encoding: whoever changes that changes the name.
    #[must_use]
    pub const fn leaf(name: &str) -> Self {
        Self { hash: text(OFFSET, TYPE, name), is_empty: false, has_body: false }
    }

    /// As [`leaf`](Self::leaf), for a type whose encoding may take no byte: `()`, or a struct
    /// before its fields are [added](Self::and).
    #[must_use]
    pub const fn empty(name: &str) -> Self {
        Self { is_empty: true, ..Self::leaf(name) }
    }

    /// Adds a field, after those added before.
    ///
    /// # Panics
    /// At compile time, when the field's type carries a body: nobody would send it.
    #[must_use]
    pub const fn and(self, name: &str, field: Self) -> Self {
        assert!(!field.has_body, "a field's own body would stay behind: only the message has one");
        let hash = word(text(self.hash, FIELD, name), field.hash);
        Self { hash, is_empty: self.is_empty && field.is_empty, ..self }
    }

    /// Adds a variant of an enum, after those added before. `fields` is [`Schema::empty("")`] with
    /// the variant's fields [added](Self::and). The enum itself begins as a [`leaf`](Self::leaf),
    /// because its encoding names the variant.
    ///
    /// [`Schema::empty("")`]: Self::empty
    ///
    /// # Panics
    /// At compile time, when a field carries a body.
    #[must_use]
    pub const fn variant(self, name: &str, fields: Self) -> Self {
        assert!(!fields.has_body, "a variant's own body would stay behind: only a struct has one");
        Self { hash: word(text(self.hash, VARIANT, name), fields.hash), ..self }
    }

    /// Adds a generic argument, of which any fixed number may be encoded: `Result<_, E>`.
    ///
    /// # Panics
    /// At compile time, when the argument carries a body: nobody would send it.
    #[must_use]
    pub const fn of(self, argument: Self) -> Self {
        assert!(!argument.has_body, "the body of a generic argument would stay behind");
        Self { hash: word(text(self.hash, ARGUMENT, ""), argument.hash), ..self }
    }

    /// Adds the type of the elements of a collection, of which a peer chooses the number.
    ///
    /// # Panics
    /// At compile time, when an element carries a body, and when its encoding may take no byte: a
    /// few bytes would then announce 2^60 elements, and the reader would make them all.
    #[must_use]
    pub const fn each(self, element: Self) -> Self {
        assert!(!element.is_empty, "an element of a collection must take at least one byte");
        self.of(element)
    }

    /// Says that the type's `Wire::body` and `Wire::put_body` carry a body, in the field `name`.
    ///
    /// # Panics
    /// At compile time, when the type carries one already.
    #[must_use]
    pub const fn with_body(self, name: &str) -> Self {
        assert!(!self.has_body, "a message carries one body");
        Self { hash: text(self.hash, BODY, name), has_body: true, ..self }
    }

    /// As [`of`](Self::of), for a type that hands the body of its argument on.
    pub(crate) const fn handing_on(self, argument: Self) -> Self {
        let alone = Self { has_body: false, ..argument };
        Self { has_body: self.has_body || argument.has_body, ..self.of(alone) }
    }

    /// The number that two builds compare.
    #[must_use]
    pub const fn fingerprint(self) -> Fingerprint {
        Fingerprint(self.hash)
    }

    /// Whether the encoding of a value may take no byte. A body does not count.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.is_empty
    }
}

/// A number that differs when what it stands for does. Shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of a message's name and version.
pub(crate) const fn key(name: &str, version: u16) -> u64 {
    bytes(text(OFFSET, KEY, name), &version.to_le_bytes())
}

pub(crate) const fn bytes(mut hash: u64, mut bytes: &[u8]) -> u64 {
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(PRIME);
        bytes = rest;
    }
    hash
}

pub(crate) const fn word(hash: u64, word: u64) -> u64 {
    bytes(hash, &word.to_le_bytes())
}

/// The length stands before the text, so that no two lists of parts give the same bytes.
const fn text(hash: u64, tag: u8, text: &str) -> u64 {
    bytes(word(bytes(hash, &[tag]), text.len() as u64), text.as_bytes())
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
