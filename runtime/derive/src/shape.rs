//! What a type is made of, as far as it travels.

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Error, Fields, Member, Result, Type};

use crate::attributes::{is_body, refuse_remote, refuse_serde};

/// A field that is encoded, or the body.
pub(crate) struct Field<'a> {
    pub(crate) member: Member,
    pub(crate) name: String,
    pub(crate) ty: &'a Type,
}

/// One variant of an enum.
pub(crate) struct Variant<'a> {
    pub(crate) name: String,
    pub(crate) fields: Vec<Field<'a>>,
}

/// What a type is made of.
pub(crate) enum Shape<'a> {
    Struct { fields: Vec<Field<'a>>, body: Option<Field<'a>> },
    Enum { variants: Vec<Variant<'a>> },
}

impl<'a> Shape<'a> {
    /// Reads the type.
    ///
    /// # Errors
    /// Generics, unions, attributes that are refused, a body that is none or not the only one.
    pub(crate) fn of(input: &'a DeriveInput) -> Result<Self> {
        if !input.generics.params.is_empty() {
            let mend = "a type that travels has no parameters: \
                        two builds compare one schema, and there would be one for each argument";
            return Err(Error::new(input.generics.params.span(), mend));
        }
        match &input.data {
            Data::Struct(data) => structure(&data.fields),
            Data::Enum(data) => enumeration(data),
            Data::Union(data) => {
                Err(Error::new(data.union_token.span, "a union cannot travel: use an enum"))
            }
        }
    }
}

fn structure(fields: &Fields) -> Result<Shape<'_>> {
    let (mut encoded, mut body) = (Vec::new(), None);
    for (member, field) in fields.members().zip(fields) {
        let parsed = named(member, &field.ty);
        if !is_body(&field.attrs)? {
            encoded.push(parsed);
            continue;
        }
        if !is_bytes(&field.ty) {
            return Err(Error::new(field.ty.span(), "the body must be a `bytes::Bytes`"));
        }
        if matches!(fields, Fields::Unnamed(_)) && fields.len() == 1 {
            let mend = "serde encodes the one field of such a struct in spite of `skip`: \
                        give the body a name";
            return Err(Error::new(field.span(), mend));
        }
        if body.replace(parsed).is_some() {
            return Err(Error::new(field.span(), "a message carries one body"));
        }
    }
    Ok(Shape::Struct { fields: encoded, body })
}

fn enumeration(data: &DataEnum) -> Result<Shape<'_>> {
    let mut variants = Vec::new();
    for variant in &data.variants {
        refuse_serde(&variant.attrs, &[])?;
        refuse_remote(&variant.attrs)?;
        let mut fields = Vec::new();
        for (member, field) in variant.fields.members().zip(&variant.fields) {
            refuse_remote(&field.attrs)?;
            refuse_serde(&field.attrs, &[])?;
            fields.push(named(member, &field.ty));
        }
        variants.push(Variant { name: variant.ident.unraw().to_string(), fields });
    }
    Ok(Shape::Enum { variants })
}

fn named(member: Member, ty: &Type) -> Field<'_> {
    let name = match &member {
        Member::Named(name) => name.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    Field { member, name, ty }
}

/// By its last name alone: the compiler checks the type, this only words the common mistake.
fn is_bytes(ty: &Type) -> bool {
    ty.to_token_stream().into_iter().last().is_some_and(|last| last.to_string() == "Bytes")
}
