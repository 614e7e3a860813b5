//! `#[choice]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{Fields, ItemEnum};

use crate::docs;
use crate::schema::{Faults, refuse_args, refuse_serde};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    refuse_args(&mut faults, "choice", &args);
    let item = match syn::parse2::<ItemEnum>(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            let error = syn::Error::new(error.span(), "#[choice] marks an enum of plain words");
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let owner = &item.ident;
    refuse_serde(&mut faults, &item.attrs);
    if item.variants.is_empty() {
        faults.add(
            owner,
            format!("`{owner}` has no variants: a choice needs one"),
        );
    }
    for variant in &item.variants {
        refuse_serde(&mut faults, &variant.attrs);
        if !matches!(variant.fields, Fields::Unit) {
            let message = format!(
                "`{}` of `{owner}` carries fields: a choice is plain words. Put the fields into a \
                 #[part], beside the choice",
                variant.ident
            );
            faults.add(variant, message);
        }
    }
    if !faults.is_empty() {
        let error = faults.into_tokens();
        return quote!(#error #item);
    }

    let idents: Vec<_> = item.variants.iter().map(|v| &v.ident).collect();
    let words: Vec<_> = idents
        .iter()
        .map(|ident| snake_case(&ident.unraw().to_string()))
        .collect();
    let name = owner.to_string();
    let description = describe(&item, &words);
    quote! {
        #[derive(
            ::core::clone::Clone,
            ::core::marker::Copy,
            ::core::fmt::Debug,
            ::core::cmp::PartialEq,
            ::core::cmp::Eq,
            ::stoplog_sdk::__rt::serde::Serialize,
            ::stoplog_sdk::__rt::serde::Deserialize,
        )]
        #[serde(crate = "::stoplog_sdk::__rt::serde", rename_all = "snake_case")]
        #item

        #[allow(dead_code)]
        impl #owner {
            /// The word, as it is written in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { #(Self::#idents => #words,)* }
            }
        }

        impl ::core::fmt::Display for #owner {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::stoplog_sdk::__rt::schemars::JsonSchema for #owner {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(#name)
            }
            fn inline_schema() -> bool { true }
            fn json_schema(
                _: &mut ::stoplog_sdk::__rt::schemars::SchemaGenerator,
            ) -> ::stoplog_sdk::__rt::schemars::Schema {
                ::stoplog_sdk::__rt::choice_schema(&[#(#words),*], #description)
            }
        }

        impl ::stoplog_sdk::FieldType for #owner {}
        impl ::stoplog_sdk::KeyPart for #owner {}
    }
}

/// The doc comment of the enum, and a line for each documented variant.
fn describe(item: &ItemEnum, words: &[String]) -> String {
    let mut description = docs::text(&item.attrs);
    for (variant, word) in item.variants.iter().zip(words) {
        let text = docs::text(&variant.attrs);
        if !text.is_empty() {
            if !description.is_empty() {
                description.push('\n');
            }
            description.push_str(&format!("`{word}`: {text}"));
        }
    }
    description
}

/// serde's `snake_case`, so that schema and data agree.
fn snake_case(name: &str) -> String {
    let mut word = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}
