use super::{Fingerprint, Schema, key};

const BYTE: Schema = Schema::leaf("u8");
const UNIT: Schema = Schema::empty("()");
const DATA: Schema = Schema::empty("Data").with_body("data");

/// Changing one of these parts the cluster in two: nodes of the old build refuse the new one's
/// messages.
#[test]
fn released_schemas_keep_their_fingerprints() {
    let put = Schema::empty("Put").and("block", Schema::leaf("u64")).with_body("data");
    let refusal = Schema::leaf("Refusal")
        .variant("Full", Schema::empty(""))
        .variant("Busy", Schema::empty("").and("ms", Schema::leaf("u32")));
    for (schema, golden) in [
        (UNIT, "c88ea5eae89b69a1"),
        (BYTE, "c7fc92eae81f5b3b"),
        (Schema::leaf("Vec").each(BYTE), "2a6fa11b347ae789"),
        (put, "1b6f73c9a92b8a83"),
        (refusal, "ba0b7c60b3478e8a"),
    ] {
        assert_eq!(schema.fingerprint().to_string(), golden, "{schema:?}");
    }
    assert_eq!(format!("{:016x}", key("bank.Deposit", 1)), "731194c72d65872e");
}

#[test]
fn whatever_changes_in_a_type_changes_its_fingerprint() {
    let pair = |first, second| Schema::empty("P").and(first, BYTE).and(second, BYTE);
    let variants = |first, second| Schema::leaf("P").variant(first, UNIT).variant(second, UNIT);
    let list = Schema::leaf("Vec").each(BYTE);
    let schemas = [
        UNIT,
        BYTE,
        Schema::empty("P"),
        Schema::empty("P").and("a", BYTE),
        Schema::empty("Q").and("a", BYTE),
        Schema::empty("P").and("b", BYTE),
        Schema::empty("P").and("a", UNIT),
        Schema::empty("P").and("a", list),
        Schema::empty("P").and("a", Schema::empty("P").and("a", BYTE)),
        Schema::empty("P").with_body("a"),
        Schema::empty("P").with_body("a").and("b", BYTE),
        Schema::empty("P").and("b", BYTE).with_body("a"),
        Schema::empty("P").of(BYTE),
        pair("a", "b"),
        pair("b", "a"),
        pair("ab", ""),
        pair("", "ab"),
        variants("a", "b"),
        variants("b", "a"),
        Schema::leaf("P").variant("a", UNIT),
        Schema::leaf("P").variant("a", BYTE),
        Schema::leaf("Result").of(BYTE).of(UNIT),
        Schema::leaf("Result").of(UNIT).of(BYTE),
        list,
        Schema::leaf("Vec").each(list),
    ];
    for (at, one) in schemas.iter().enumerate() {
        for other in &schemas[at + 1..] {
            assert_ne!(one.fingerprint(), other.fingerprint(), "{one:?} and {other:?}");
        }
    }
}

#[test]
fn a_key_is_of_name_and_version() {
    let keys = [key("a.B", 1), key("a.B", 2), key("a.B", 256), key("a.C", 1), key("a.", 1)];
    for (at, one) in keys.iter().enumerate() {
        assert!(!keys[at + 1..].contains(one), "{at}");
    }
}

#[test]
fn a_type_is_empty_while_all_its_fields_are() {
    let nothing = Schema::empty("P").and("a", UNIT).and("b", Schema::empty("Q"));
    assert!(nothing.is_empty());
    assert!(!nothing.and("c", BYTE).is_empty());
    assert!(!nothing.and("c", BYTE).and("d", UNIT).is_empty());
    assert!(!Schema::leaf("Enum").variant("a", UNIT).is_empty());
    assert!(!Schema::leaf("Option").of(UNIT).is_empty());
    assert!(DATA.is_empty(), "a body is not encoded");
}

#[test]
fn only_what_hands_a_body_on_takes_a_type_that_carries_one() {
    let one = Schema::leaf("Option").handing_on(DATA);
    assert_ne!(one.fingerprint(), Schema::leaf("Option").handing_on(UNIT).fingerprint());
    let two = Schema::leaf("Result").handing_on(one).of(BYTE);
    assert!(two.has_body);
    assert!(!Schema::leaf("Option").handing_on(BYTE).has_body);
}

#[test]
#[should_panic(expected = "a field's own body would stay behind: only the message has one")]
fn a_field_with_a_body_is_refused() {
    let _refused = Schema::empty("P").and("inner", Schema::leaf("Option").handing_on(DATA));
}

#[test]
#[should_panic(expected = "a variant's own body would stay behind: only a struct has one")]
fn a_variant_with_a_body_is_refused() {
    let _refused = Schema::leaf("P").variant("a", DATA);
}

#[test]
#[should_panic(expected = "the body of a generic argument would stay behind")]
fn an_argument_with_a_body_is_refused() {
    let _refused = Schema::leaf("Result").handing_on(BYTE).of(DATA);
}

#[test]
#[should_panic(expected = "a message carries one body")]
fn a_second_body_is_refused() {
    let _refused = DATA.with_body("more");
}

#[test]
#[should_panic(expected = "an element of a collection must take at least one byte")]
fn a_collection_of_nothing_is_refused() {
    let _refused = Schema::leaf("Vec").each(Schema::empty("P").and("a", UNIT));
}

#[test]
fn a_fingerprint_shows_all_its_digits() {
    assert_eq!(Fingerprint(0xab).to_string(), "00000000000000ab");
}
