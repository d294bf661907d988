use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::codec::{Codec, DecodeError};

/// Both codecs give the value back, and need all bytes for it: at least one unless the schema says
/// otherwise.
fn survives<T: Wire + PartialEq + Debug>(value: &T) {
    for codec in [Codec::Bincode, Codec::Postcard] {
        let mut out = b"head".to_vec();
        codec.encode(value, &mut out).unwrap();
        let encoded = out.strip_prefix(b"head").unwrap();
        assert_eq!(codec.decode::<T>(encoded).as_ref(), Ok(value), "{codec:?}");
        match encoded.split_last() {
            Some((_, cut)) => {
                let refused = codec.decode::<T>(cut);
                assert_eq!(refused, Err(DecodeError::Truncated), "{codec:?} {value:?}");
            }
            None => assert!(T::SCHEMA.is_empty(), "{codec:?} {value:?}"),
        }
    }
}

fn name() -> impl Strategy<Value = NodeName> {
    "[a-z][a-z0-9]{0,14}".prop_map(|name| name.parse().unwrap())
}

#[test]
fn roles_survive() {
    survives(&Roles::none());
    survives(&Roles::all());
}

proptest! {
    #[test]
    fn numbers_survive(
        a: (u8, u16, u32, u64, u128, usize),
        b: (i8, i16, i32, i64, i128, isize),
        c: (f32, f64),
    ) {
        survives(&a);
        survives(&b);
        survives(&c);
        survives(&(a.4,));
        survives(&(b.0, b.1, b.2));
        survives(&(a.0, b.3, c.0, c.1));
        survives(&(c.1, b.4, a.3, a.2, a.1));
        survives(&Box::new(b.4));
    }

    #[test]
    fn texts_and_flags_survive(a: bool, b: char, c: String, d: ()) {
        survives(&a);
        survives(&b);
        survives(&c);
        survives(&d);
    }

    #[test]
    fn times_names_and_addresses_survive(
        a: Duration, b: IpAddr, c: Ipv4Addr, d: Ipv6Addr, name in name(), port: u16,
    ) {
        survives(&a);
        survives(&b);
        survives(&c);
        survives(&d);
        survives(&SocketAddr::new(b, port));
        survives(&name);
    }

    #[test]
    fn choices_survive(a: Option<u64>, b: Result<String, u8>, c: Option<()>, d: Result<(), ()>) {
        survives(&a);
        survives(&b);
        survives(&c);
        survives(&d);
    }
}

proptest! {
    // Each case is a thousand values.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn collections_survive(
        a: Vec<Option<String>>,
        b: VecDeque<u128>,
        c: BTreeSet<(u8, char)>,
        d: BTreeMap<String, Vec<u16>>,
        e: [u16; 32],
        f: [(); 3],
    ) {
        survives(&a);
        survives(&b);
        survives(&c);
        survives(&d);
        survives(&e);
        survives(&[e[0]]);
        survives(&f);
    }
}

#[test]
fn numbers_at_their_ends_survive() {
    survives(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX, usize::MAX));
    survives(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN, isize::MIN));
    survives(&(f64::INFINITY, f32::MIN_POSITIVE, -0.0_f64, Duration::MAX));
}

/// Of the same shape in memory or on the wire, and still not the same type.
#[test]
fn types_that_could_be_mistaken_for_one_another_have_schemas_of_their_own() {
    let schemas = [
        <()>::SCHEMA,
        <[(); 1]>::SCHEMA,
        <((),)>::SCHEMA,
        u8::SCHEMA,
        i8::SCHEMA,
        bool::SCHEMA,
        u64::SCHEMA,
        usize::SCHEMA,
        f64::SCHEMA,
        String::SCHEMA,
        NodeName::SCHEMA,
        <Vec<u8>>::SCHEMA,
        <VecDeque<u8>>::SCHEMA,
        <BTreeSet<u8>>::SCHEMA,
        <BTreeMap<u8, u8>>::SCHEMA,
        <BTreeMap<u8, ()>>::SCHEMA,
        <Vec<(u8, u8)>>::SCHEMA,
        <[u8; 2]>::SCHEMA,
        <[u8; 3]>::SCHEMA,
        <(u8, u8)>::SCHEMA,
        <(u8, u8, u8)>::SCHEMA,
        <Option<u8>>::SCHEMA,
        <Option<Option<u8>>>::SCHEMA,
        <Result<u8, ()>>::SCHEMA,
        <Result<(), u8>>::SCHEMA,
        IpAddr::SCHEMA,
        Ipv4Addr::SCHEMA,
        SocketAddr::SCHEMA,
        Duration::SCHEMA,
    ];
    for (at, one) in schemas.iter().enumerate() {
        for (offset, other) in schemas[at + 1..].iter().enumerate() {
            assert_ne!(one.fingerprint(), other.fingerprint(), "{at} and {}", at + 1 + offset);
        }
    }
    assert_eq!(<Box<u8>>::SCHEMA, u8::SCHEMA, "a box is not seen on the wire");
}

#[test]
fn a_body_has_no_place_in_what_carries_none() {
    let body = Bytes::from_static(b"stray");
    assert_eq!(5_u8.body(), Bytes::new());
    assert_eq!(5_u8.put_body(Bytes::new()), Ok(()));
    assert_eq!(5_u8.put_body(body.clone()), Err(StrayBody));
    assert_eq!(None::<u8>.put_body(body.clone()), Err(StrayBody));
    assert_eq!(None::<u8>.put_body(Bytes::new()), Ok(()));
    assert_eq!(Err::<u8, u8>(1).put_body(body.clone()), Err(StrayBody));
    assert_eq!(Ok::<u8, u8>(1).put_body(body.clone()), Err(StrayBody));
    assert_eq!(Box::new(5_u8).put_body(body), Err(StrayBody));
}
