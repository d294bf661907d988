//! What `#[remote(…)]` says, and which `#[serde(…)]` may stand beside it.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result, Token, parse_quote};

/// Longest name of a message, bytes.
const NAME_BYTES_MAX: usize = 128;

/// serde's attributes on a type that leave its encoding alone.
const SERDE_ON_TYPES: [&str; 3] = ["bound", "crate", "expecting"];

/// What the attributes of a message say.
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) version: u16,
}

/// What the attributes of a type say.
pub(crate) struct OnType {
    pub(crate) runtime: Path,
    name: Option<LitStr>,
    version: Option<LitInt>,
}

impl OnType {
    /// Reads the attributes of the type.
    ///
    /// # Errors
    /// What is unknown or given twice, and serde's attributes that change the encoding.
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        refuse_serde(attributes, &SERDE_ON_TYPES)?;
        let (mut runtime, mut name, mut version) = (None, None, None);
        for attribute in remote(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("crate") {
                    let path: LitStr = value_once(&meta, runtime.is_some())?;
                    runtime = Some(path.parse()?);
                } else if meta.path.is_ident("name") {
                    name = Some(value_once(&meta, name.is_some())?);
                } else if meta.path.is_ident("version") {
                    version = Some(value_once(&meta, version.is_some())?);
                } else if meta.path.is_ident("body") {
                    return Err(meta.error("`body` stands on the field that is the body"));
                } else {
                    return Err(meta.error("known are `name`, `version` and `crate`"));
                }
                Ok(())
            })?;
        }
        let runtime = runtime.unwrap_or_else(|| parse_quote!(::vioduct_runtime));
        Ok(Self { runtime, name, version })
    }

    /// Checks what makes a type a message.
    ///
    /// # Errors
    /// No name, or a name or version out of its range.
    pub(crate) fn message(&self, at: Span) -> Result<Message> {
        let Some(name) = &self.name else {
            let mend = "a message needs a name that stays the same in every build: \
                        add `#[remote(name = \"area.Message\")]`";
            return Err(Error::new(at, mend));
        };
        let text = name.value();
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
            let bound = "the name must be 1 to 128 bytes without control characters";
            return Err(Error::new(name.span(), bound));
        }
        let version = self.version.as_ref().map_or(Ok(1), LitInt::base10_parse::<u16>);
        match version {
            Ok(version) if version > 0 => Ok(Message { name: text, version }),
            _none => Err(Error::new(self.version.span(), "the version must be 1 to 65535")),
        }
    }

    /// Checks that a type that is no message does not say it is one.
    ///
    /// # Errors
    /// A name or a version.
    pub(crate) fn no_message(&self) -> Result<()> {
        let span = self.name.as_ref().map(Spanned::span);
        match span.or_else(|| self.version.as_ref().map(Spanned::span)) {
            Some(span) => {
                let mend = "only a message has a name and a version: derive `RemoteMessage`, \
                            which makes `Wire` too";
                Err(Error::new(span, mend))
            }
            None => Ok(()),
        }
    }
}

/// Whether a field's attributes make it the body.
///
/// # Errors
/// Unknown ones, serde's that change the encoding, and a body that serde would encode.
pub(crate) fn is_body(attributes: &[Attribute]) -> Result<bool> {
    let mut body = None;
    for attribute in remote(attributes) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("body") {
                return Err(meta.error("known on a field is `body`"));
            }
            body = Some(meta.path.span());
            Ok(())
        })?;
    }
    let Some(body) = body else {
        refuse_serde(attributes, &[])?;
        return Ok(false);
    };
    if !serde_names(attributes)?.iter().any(|path| path.is_ident("skip")) {
        let mend = "the body travels behind the encoding, not in it: add `#[serde(skip)]`";
        return Err(Error::new(body, mend));
    }
    refuse_serde(attributes, &["skip", "default"])?;
    Ok(true)
}

/// # Errors
/// The first of serde's attributes that changes the encoding, but those `allowed`.
pub(crate) fn refuse_serde(attributes: &[Attribute], allowed: &[&str]) -> Result<()> {
    let mut names = serde_names(attributes)?.into_iter();
    match names.find(|path| !allowed.iter().any(|allowed| path.is_ident(allowed))) {
        Some(path) => {
            let name = path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
            let mend = format!(
                "`#[serde({name})]` changes the encoding and the fingerprint would not see it: \
                 write the type as it travels, or implement `Wire` by hand"
            );
            Err(Error::new(path.span(), mend))
        }
        None => Ok(()),
    }
}

/// # Errors
/// Every `#[remote(…)]`: here none is known.
pub(crate) fn refuse_remote(attributes: &[Attribute]) -> Result<()> {
    match remote(attributes).next() {
        Some(attribute) => Err(Error::new(
            attribute.span(),
            "in an enum there is no `#[remote(…)]`; a body belongs in a struct, \
             which `Result` and `Option` hand on",
        )),
        None => Ok(()),
    }
}

fn remote(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("remote"))
}

fn value_once<T: syn::parse::Parse>(meta: &ParseNestedMeta<'_>, is_second: bool) -> Result<T> {
    if is_second {
        return Err(meta.error("given twice"));
    }
    meta.value()?.parse()
}

/// The names within all `#[serde(…)]`.
fn serde_names(attributes: &[Attribute]) -> Result<Vec<Path>> {
    let mut names = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            if meta.input.peek(Token![=]) {
                let _value: proc_macro2::TokenTree = meta.value()?.parse()?;
            } else if meta.input.peek(syn::token::Paren) {
                let _list: proc_macro2::TokenTree = meta.input.parse()?;
            }
            names.push(meta.path);
            Ok(())
        })?;
    }
    Ok(names)
}
