//! From a type's declaration to its implementations.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{DeriveInput, Path, Result};

use crate::attributes::{Message, OnType};
use crate::shape::{Field, Shape};

/// Which of the macros was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Derive {
    Wire,
    RemoteMessage,
}

/// Writes the implementations.
///
/// # Errors
/// A declaration that cannot travel, with how to mend it.
pub(crate) fn expand(derive: Derive, input: &DeriveInput) -> Result<TokenStream> {
    let on_type = OnType::read(&input.attrs)?;
    let (name, runtime) = (&input.ident, &on_type.runtime);
    let message = match derive {
        Derive::Wire => {
            on_type.no_message()?;
            quote!(const _: #runtime::schema::Schema = <#name as #runtime::Wire>::SCHEMA;)
        }
        Derive::RemoteMessage => {
            let Message { name: remote, version } = on_type.message(name.span())?;
            quote! {
                #[automatically_derived]
                impl #runtime::RemoteMessage for #name {
                    const NAME: &'static str = #remote;
                    const VERSION: u16 = #version;
                }
                const _: #runtime::message::MessageType =
                    #runtime::message::MessageType::of::<#name>();
            }
        }
    };
    let wire = wire(input, &Shape::of(input)?, runtime);
    Ok(quote!(#wire #message))
}

fn wire(input: &DeriveInput, shape: &Shape<'_>, runtime: &Path) -> TokenStream {
    let name = &input.ident;
    let text = name.unraw().to_string();
    let (schema, body) = match shape {
        Shape::Struct { fields, body } => {
            let fields = and(fields, runtime);
            let with_body = body.as_ref().map(|Field { name, .. }| quote!(.with_body(#name)));
            let schema = quote!(#runtime::schema::Schema::empty(#text) #fields #with_body);
            (schema, body.as_ref().map(|body| carried(body, runtime)))
        }
        Shape::Enum { variants } => {
            let variants = variants.iter().map(|variant| {
                let (name, fields) = (&variant.name, and(&variant.fields, runtime));
                quote!(.variant(#name, #runtime::schema::Schema::empty("") #fields))
            });
            (quote!(#runtime::schema::Schema::leaf(#text) #(#variants)*), None)
        }
    };
    quote! {
        #[automatically_derived]
        impl #runtime::Wire for #name {
            const SCHEMA: #runtime::schema::Schema = #schema;
            #body
        }
    }
}

/// Adds the fields in their order.
fn and(fields: &[Field<'_>], runtime: &Path) -> TokenStream {
    let fields = fields
        .iter()
        .map(|Field { name, ty, .. }| quote!(.and(#name, <#ty as #runtime::Wire>::SCHEMA)));
    quote!(#(#fields)*)
}

/// The type of the body is written as the field has it: that one is in scope.
fn carried(body: &Field<'_>, runtime: &Path) -> TokenStream {
    let Field { member, ty, .. } = body;
    quote! {
        fn body(&self) -> #ty {
            ::core::clone::Clone::clone(&self.#member)
        }

        fn put_body(
            &mut self,
            body: #ty,
        ) -> ::core::result::Result<(), #runtime::message::StrayBody> {
            self.#member = body;
            ::core::result::Result::Ok(())
        }
    }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
