//! `#[input]`, `#[output]`, `#[part]` and `#[wire]`.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Field, Fields, ItemStruct, LitStr, Meta};

/// What a struct is for.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Input,
    Output,
    Part,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Part => "part",
        }
    }

    fn marker(self) -> TokenStream {
        match self {
            Self::Input => quote!(Input),
            Self::Output => quote!(Output),
            Self::Part => quote!(FieldType),
        }
    }
}

/// What a field may show, in the words of the schema.
const DISCLOSURES: [&str; 3] = ["audit", "personal", "secret"];

/// The longest kind of an identifier: kinds are names, not sentences.
const MAX_KIND_CHARS: usize = 64;

/// Everything that was wrong with an item, in one error.
#[derive(Default)]
pub(crate) struct Faults(Option<syn::Error>);

impl Faults {
    /// Adds a fault, shown at `tokens`.
    pub(crate) fn add(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds an error.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    /// The errors as tokens; nothing if there are none.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(|e| e.to_compile_error()).unwrap_or_default()
    }

    /// True when there is nothing wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Adds a fault if an attribute that takes no arguments got some.
pub(crate) fn refuse_args(faults: &mut Faults, name: &str, args: &TokenStream) {
    if !args.is_empty() {
        faults.add(args, format!("#[{name}] takes no arguments: remove them"));
    }
}

pub(crate) fn expand(role: Role, args: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    refuse_args(&mut faults, role.name(), &args);
    let mut item = match syn::parse2::<ItemStruct>(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            let name = role.name();
            let hint = format!("#[{name}] marks a struct with named fields");
            let error = syn::Error::new(error.span(), hint).to_compile_error();
            return quote!(#error #item);
        }
    };
    if !item.generics.params.is_empty() {
        let message = "a schema is of one type: remove the generic parameters";
        faults.add(&item.generics, message);
        let error = faults.into_tokens();
        return quote!(#error #item);
    }
    let Fields::Named(fields) = &mut item.fields else {
        let owner = &item.ident;
        let message = format!(
            "#[{}] marks a struct with named fields: write `struct {owner} {{ .. }}`",
            role.name()
        );
        faults.add(owner, message);
        let error = faults.into_tokens();
        return quote!(#error #item);
    };
    refuse_serde(&mut faults, &item.attrs);

    let owner = &item.ident;
    let mut debug = TokenStream::new();
    let mut checks = TokenStream::new();
    for field in &mut fields.named {
        let (disclosure, kind) = read_field(&mut faults, owner, field);
        let kind = kind.map(|kind| quote!(, "x-identifier" = #kind));
        field.attrs.push(syn::parse_quote!(
            #[schemars(extend("x-disclosure" = #disclosure #kind))]
        ));
        let ident = &field.ident;
        let name = ident.as_ref().map(|i| i.unraw().to_string());
        debug.extend(if disclosure == "audit" {
            quote!(.field(#name, &self.#ident))
        } else {
            quote!(.field(#name, &::core::format_args!("[{}]", #disclosure)))
        });
        let ty = &field.ty;
        checks.extend(quote_spanned!(ty.span()=> ::stoplog_sdk::__rt::field_type::<#ty>();));
    }

    let name = owner.to_string();
    let marker = role.marker();
    let error = faults.into_tokens();
    quote! {
        #error

        #[derive(
            ::core::clone::Clone,
            ::core::cmp::PartialEq,
            ::stoplog_sdk::__rt::serde::Serialize,
            ::stoplog_sdk::__rt::serde::Deserialize,
            ::stoplog_sdk::__rt::schemars::JsonSchema,
        )]
        #[serde(crate = "::stoplog_sdk::__rt::serde", deny_unknown_fields)]
        #[schemars(crate = "::stoplog_sdk::__rt::schemars")]
        #item

        impl ::core::fmt::Debug for #owner {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#name) #debug .finish()
            }
        }

        impl ::stoplog_sdk::#marker for #owner {}

        const _: () = {
            #[allow(dead_code)]
            fn field_types() { #checks }
        };
    }
}

/// Takes the sdk's attributes off a field and says what they said. After a fault the answer is a
/// guess that compiles.
fn read_field(
    faults: &mut Faults,
    owner: &Ident,
    field: &mut Field,
) -> (&'static str, Option<String>) {
    refuse_serde(faults, &field.attrs);
    let name = match &field.ident {
        Some(ident) => ident.clone(),
        None => owner.clone(),
    };
    let mut found: Option<&'static str> = None;
    let mut kind = None;
    for attribute in &field.attrs {
        if let Some(disclosure) = DISCLOSURES
            .iter()
            .find(|d| attribute.path().is_ident(d))
            .copied()
        {
            if !matches!(attribute.meta, Meta::Path(_)) {
                faults.add(attribute, format!("#[{disclosure}] takes no arguments"));
            }
            if let Some(first) = found {
                let message = format!(
                    "field `{name}` of `{owner}` has two disclosures, #[{first}] and \
                     #[{disclosure}]: keep one"
                );
                faults.add(attribute, message);
            } else {
                found = Some(disclosure);
            }
        } else if attribute.path().is_ident("identifier") {
            match attribute.parse_args::<LitStr>() {
                Ok(text) if is_kind(&text.value()) && kind.is_none() => kind = Some(text.value()),
                _ => faults.add(
                    attribute,
                    format!(
                        "field `{name}` of `{owner}`: write #[identifier(\"order_id\")] once, \
                         with a kind of lower-case letters, digits and `_`"
                    ),
                ),
            }
        }
    }
    field.attrs.retain(|attribute| {
        let path = attribute.path();
        !path.is_ident("identifier") && !DISCLOSURES.iter().any(|d| path.is_ident(d))
    });
    if found.is_none() {
        let message = format!(
            "field `{name}` of `{owner}` has no disclosure: add #[audit] (kept everywhere), \
             #[personal] (hidden in traces) or #[secret] (kept nowhere)"
        );
        faults.add(&name, message);
    }
    (found.unwrap_or("audit"), kind)
}

fn is_kind(text: &str) -> bool {
    text.chars().count() <= MAX_KIND_CHARS
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// serde's attributes can hide a field from its schema (`skip`, `flatten`, `rename`), and with it
/// its disclosure.
pub(crate) fn refuse_serde(faults: &mut Faults, attributes: &[Attribute]) {
    for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
        let message = "stoplog-sdk decides how this is written: remove #[serde]. For the far \
                       side's format, write a second type with #[wire]";
        faults.add(attribute, message);
    }
}

pub(crate) fn expand_wire(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    refuse_args(&mut faults, "wire", &args);
    let error = faults.into_tokens();
    quote! {
        #error
        #[derive(
            ::core::clone::Clone,
            ::core::fmt::Debug,
            ::stoplog_sdk::__rt::serde::Serialize,
            ::stoplog_sdk::__rt::serde::Deserialize,
        )]
        #[serde(crate = "::stoplog_sdk::__rt::serde")]
        #item
    }
}
