use syn::{DeriveInput, parse_str};

use super::{Derive, expand};

fn expansion(derive: Derive, declaration: &str) -> Result<String, String> {
    let input: DeriveInput = parse_str(declaration).expect("the declaration parses");
    expand(derive, &input).map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
}

fn refused(derive: Derive, declaration: &str, error: &str) {
    assert_eq!(expansion(derive, declaration), Err(error.to_owned()), "{declaration}");
}

fn schema_of(declaration: &str) -> String {
    let tokens = expansion(Derive::Wire, declaration).unwrap();
    let (_, after) =
        tokens.split_once("SCHEMA : :: vioduct_runtime :: schema :: Schema =").unwrap();
    let (schema, _) = after.split_once(';').unwrap();
    let short = schema.replace(":: vioduct_runtime :: ", "").replace("schema :: Schema", "Schema");
    short.split_whitespace().collect::<Vec<_>>().join("")
}

#[test]
fn fields_stand_in_the_schema_in_their_order_with_name_and_type() {
    assert_eq!(
        schema_of("struct Put { block: u64, r#type: Vec<Kind>, }"),
        r#"Schema::empty("Put").and("block",<u64asWire>::SCHEMA)"#.to_owned()
            + r#".and("type",<Vec<Kind>asWire>::SCHEMA)"#
    );
    assert_eq!(
        schema_of("struct Pair(u8, u16);"),
        r#"Schema::empty("Pair").and("0",<u8asWire>::SCHEMA).and("1",<u16asWire>::SCHEMA)"#
    );
    assert_eq!(schema_of("struct Nothing;"), r#"Schema::empty("Nothing")"#);
}

#[test]
fn variants_stand_in_the_schema_in_their_order_with_their_fields() {
    assert_eq!(
        schema_of("enum Refusal { Full, Busy { ms: u32 }, Code(u8) }"),
        r#"Schema::leaf("Refusal").variant("Full",Schema::empty(""))"#.to_owned()
            + r#".variant("Busy",Schema::empty("").and("ms",<u32asWire>::SCHEMA))"#
            + r#".variant("Code",Schema::empty("").and("0",<u8asWire>::SCHEMA))"#
    );
}

#[test]
fn layout_documentation_and_visibility_do_not_reach_the_schema() {
    let plain = schema_of("struct Put { block: u64 }");
    let dressed =
        "/// Puts.\n#[derive(Debug)]\npub struct Put {\n  /// Where.\n  pub block: u64,\n}";
    assert_eq!(schema_of(dressed), plain);
}

#[test]
fn the_body_is_in_the_schema_by_name_and_its_methods_use_the_field() {
    let put = "struct Put { block: u64, #[serde(skip)] #[remote(body)] data: bytes::Bytes }";
    assert_eq!(
        schema_of(put),
        r#"Schema::empty("Put").and("block",<u64asWire>::SCHEMA).with_body("data")"#
    );
    let tokens = expansion(Derive::Wire, put).unwrap();
    assert!(tokens.contains("fn body (& self) -> bytes :: Bytes"), "{tokens}");
    assert!(tokens.contains("Clone :: clone (& self . data)"), "{tokens}");
    assert!(tokens.contains("self . data = body ;"), "{tokens}");
    let tuple = "struct Put(#[remote(body)] #[serde(skip, default)] Bytes, u8);";
    let tokens = expansion(Derive::Wire, tuple).unwrap();
    assert!(tokens.contains("self . 0 = body ;"), "{tokens}");
}

#[test]
fn a_message_has_its_name_and_version_and_another_path_when_asked() {
    let tokens = expansion(
        Derive::RemoteMessage,
        r#"#[remote(name = "bank.Deposit", version = 3)]
        #[remote(crate = "my::runtime")]
        struct D;"#,
    )
    .unwrap();
    assert!(tokens.contains("impl my :: runtime :: RemoteMessage for D"), "{tokens}");
    assert!(tokens.contains(r#"const NAME : & 'static str = "bank.Deposit" ;"#), "{tokens}");
    assert!(tokens.contains("const VERSION : u16 = 3u16 ;"), "{tokens}");
    assert!(tokens.contains("MessageType :: of :: < D > ()"), "{tokens}");
    assert!(!tokens.contains("vioduct_runtime"), "{tokens}");
    let tokens = expansion(Derive::RemoteMessage, r#"#[remote(name = "a.B")] struct B;"#).unwrap();
    assert!(tokens.contains("const VERSION : u16 = 1u16 ;"), "{tokens}");
}

#[test]
fn a_message_without_a_name_is_told_how_to_get_one() {
    let mend = "a message needs a name that stays the same in every build: \
                add `#[remote(name = \"area.Message\")]`";
    refused(Derive::RemoteMessage, "struct Deposit { cents: u64 }", mend);
}

#[test]
fn names_and_versions_out_of_range_are_refused() {
    let name = "the name must be 1 to 128 bytes without control characters";
    refused(Derive::RemoteMessage, r#"#[remote(name = "")] struct D;"#, name);
    refused(Derive::RemoteMessage, r#"#[remote(name = "a\nb")] struct D;"#, name);
    let long = |bytes| format!(r#"#[remote(name = "{}")] struct D;"#, "n".repeat(bytes));
    refused(Derive::RemoteMessage, &long(129), name);
    assert!(expansion(Derive::RemoteMessage, &long(128)).unwrap().contains("nnnn"));
    for version in ["0", "65536"] {
        let declaration = format!(r#"#[remote(name = "a.B", version = {version})] struct D;"#);
        refused(Derive::RemoteMessage, &declaration, "the version must be 1 to 65535");
    }
    let newest =
        expansion(Derive::RemoteMessage, r#"#[remote(name = "D", version = 65535)] struct D;"#);
    assert!(newest.unwrap().contains("const VERSION : u16 = 65535u16"));
}

#[test]
fn remote_attributes_stand_where_they_mean_something() {
    let not_a_message = "only a message has a name and a version: derive `RemoteMessage`, \
                         which makes `Wire` too";
    refused(Derive::Wire, r#"#[remote(name = "a.B")] struct B;"#, not_a_message);
    refused(Derive::Wire, "#[remote(version = 2)] struct B;", not_a_message);
    let known = "known are `name`, `version` and `crate`";
    refused(Derive::Wire, "#[remote(nmae = 2)] struct B;", known);
    let twice = r#"#[remote(name = "a.B", name = "a.C")] struct B;"#;
    refused(Derive::RemoteMessage, twice, "given twice");
    let on_type = "`body` stands on the field that is the body";
    refused(Derive::Wire, "#[remote(body)] struct B;", on_type);
    refused(Derive::Wire, "struct B { #[remote(name)] a: u8 }", "known on a field is `body`");
}

#[test]
fn a_body_is_skipped_by_serde_is_bytes_and_is_the_only_one() {
    let skip = "the body travels behind the encoding, not in it: add `#[serde(skip)]`";
    refused(Derive::Wire, "struct B { #[remote(body)] a: Bytes }", skip);
    refused(Derive::Wire, "struct B { #[serde(default)] #[remote(body)] a: Bytes }", skip);
    let body = "#[serde(skip)] #[remote(body)]";
    let bytes = "the body must be a `bytes::Bytes`";
    refused(Derive::Wire, &format!("struct B {{ {body} a: Vec<u8> }}"), bytes);
    let two = format!("struct B {{ {body} a: Bytes, {body} b: Bytes }}");
    refused(Derive::Wire, &two, "a message carries one body");
    let alone = "serde encodes the one field of such a struct in spite of `skip`: \
                 give the body a name";
    refused(Derive::Wire, &format!("struct B({body} Bytes);"), alone);
    let in_enum = "in an enum there is no `#[remote(…)]`; a body belongs in a struct, \
                   which `Result` and `Option` hand on";
    refused(Derive::Wire, &format!("enum B {{ A({body} Bytes) }}"), in_enum);
    refused(Derive::Wire, "enum B { #[remote(body)] A }", in_enum);
}

#[test]
fn serde_attributes_that_the_fingerprint_would_not_see_are_refused() {
    let refusal = |name: &str| {
        format!(
            "`#[serde({name})]` changes the encoding and the fingerprint would not see it: \
             write the type as it travels, or implement `Wire` by hand"
        )
    };
    for (attribute, name) in [
        ("rename_all = \"camelCase\"", "rename_all"),
        ("tag = \"t\", content = \"c\"", "tag"),
        ("untagged", "untagged"),
        ("transparent", "transparent"),
        ("default", "default"),
        ("try_from = \"String\"", "try_from"),
        ("bound = \"\", into = \"String\"", "into"),
        ("rename(serialize = \"a\")", "rename"),
    ] {
        let declaration = format!("#[serde({attribute})] struct B {{ a: u8 }}");
        refused(Derive::Wire, &declaration, &refusal(name));
    }
    for (attribute, name) in [
        ("skip", "skip"),
        ("rename = \"b\"", "rename"),
        ("default = \"f\"", "default"),
        ("flatten", "flatten"),
        ("with = \"m\"", "with"),
        ("skip_serializing_if = \"f\"", "skip_serializing_if"),
    ] {
        for declaration in [
            format!("struct B {{ #[serde({attribute})] a: u8 }}"),
            format!("enum B {{ A(#[serde({attribute})] u8) }}"),
            format!("enum B {{ #[serde({attribute})] A }}"),
        ] {
            refused(Derive::Wire, &declaration, &refusal(name));
        }
    }
    let on_body = "struct B { #[serde(skip, with = \"m\")] #[remote(body)] a: Bytes }";
    refused(Derive::Wire, on_body, &refusal("with"));
}

#[test]
fn serde_attributes_that_leave_the_encoding_alone_may_stand() {
    let plain = schema_of("struct B { a: u8 }");
    let marked = "#[serde(crate = \"s\", bound(serialize = \"\"), expecting = \"b\")] \
                  struct B { a: u8 }";
    assert_eq!(schema_of(marked), plain);
}

#[test]
fn parameters_and_unions_are_refused() {
    let generic = "a type that travels has no parameters: \
                   two builds compare one schema, and there would be one for each argument";
    refused(Derive::Wire, "struct B<T> { a: T }", generic);
    refused(Derive::Wire, "enum B<'a> { A(&'a str) }", generic);
    refused(Derive::Wire, "struct B<const N: usize>;", generic);
    refused(Derive::Wire, "union B { a: u8 }", "a union cannot travel: use an enum");
}
