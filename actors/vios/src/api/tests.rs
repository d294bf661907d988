use super::*;
use crate::cluster::row::{ClientKey, ObjectName, VtdKey};

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// Callers of other programs keep to these forms.
#[test]
fn requests_have_the_form_that_they_always_had() {
    let (pool, client): (ObjectName, ClientKey) =
        ("gold".parse().unwrap(), "3/lpar1".parse().unwrap());
    let requests = [
        (
            VioRequest::List { kinds: vec![VioKind::Pool, VioKind::Lu] },
            r#"{"request":"list","kinds":["pool","lu"]}"#,
        ),
        (
            VioRequest::Read { id: VioId::Client(client.clone()) },
            r#"{"request":"read","id":{"kind":"client","id":"3/lpar1"}}"#,
        ),
        (
            VioRequest::Create { object: VioNew::Lu { pool, size: 4096 } },
            r#"{"request":"create","object":{"kind":"lu","pool":"gold","size":4096}}"#,
        ),
        (
            VioRequest::Create { object: VioNew::Vtd { lu: 1, client, socket: None } },
            concat!(
                r#"{"request":"create","object":"#,
                r#"{"kind":"vtd","lu":1,"client":"3/lpar1","socket":null}}"#
            ),
        ),
        (
            VioRequest::Change {
                change: VioChange::LuSize { lu: 1, size: 8192 },
                version: Some(7),
            },
            r#"{"request":"change","change":{"change":"lu_size","lu":1,"size":8192},"version":7}"#,
        ),
        (
            VioRequest::Delete { id: VioId::Vtd(VtdKey(2)), version: None },
            r#"{"request":"delete","id":{"kind":"vtd","id":2},"version":null}"#,
        ),
    ];
    for (request, text) in requests {
        assert_eq!(json(&request), text);
        assert_eq!(serde_json::from_str::<VioRequest>(text).unwrap(), request, "{text}");
    }
}

#[test]
fn what_is_no_request_is_refused() {
    for text in [
        r#"{"request":"list"}"#,
        r#"{"request":"list","kinds":["pool"],"more":1}"#,
        r#"{"request":"create","object":{"kind":"lu","pool":"Gold","size":4096}}"#,
        r#"{"request":"create","object":{"kind":"lu","pool":"gold","size":-1}}"#,
        r#"{"request":"read","id":{"kind":"client","id":"lpar1"}}"#,
        r#"{"request":"delete","id":{"kind":"path","id":2},"version":null}"#,
    ] {
        assert!(serde_json::from_str::<VioRequest>(text).is_err(), "{text}");
    }
}

#[test]
fn answers_have_the_form_that_they_always_had() {
    let vtds = vec![VtdKey(2)];
    let client = Client { client: "3/lpar1".parse().unwrap(), version: 7, id: 4, vtds };
    let response =
        VioResponse { revision: 9, objects: vec![client.into()], unreadable: Vec::new() };
    let text = concat!(
        r#"{"revision":9,"objects":["#,
        r#"{"kind":"client","client":"3/lpar1","version":7,"id":4,"vtds":[2]}]}"#
    );
    assert_eq!(json(&response), text);
    let read: VioResponse = serde_json::from_str(text).unwrap();
    assert_eq!(read, response);
    assert_eq!(read.clone().first::<Pool>(), None);
    assert_eq!(read.first::<Client>().map(|client| client.id), Some(4));
    let exception = VioException::from(AdminError::Version { has: 9, wanted: 7 });
    assert_eq!(
        json(&exception),
        concat!(
            r#"{"code":"changed","text":"it was changed since version 7 and has version 9; "#,
            r#"look, and try again"}"#
        )
    );
}

#[test]
fn a_code_is_called_as_it_is_written() {
    for code in [
        VioCode::Exists,
        VioCode::Missing,
        VioCode::Invalid,
        VioCode::NotSupported,
        VioCode::InUse,
        VioCode::Full,
        VioCode::NotReady,
        VioCode::Changed,
        VioCode::NotAllowed,
        VioCode::Unreadable,
        VioCode::Unavailable,
        VioCode::MaybeDone,
        VioCode::Refused,
    ] {
        assert_eq!(json(&code), format!("\"{code}\""));
    }
}
