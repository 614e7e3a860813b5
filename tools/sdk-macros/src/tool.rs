//! `#[tool]`: checks what the class owes, and writes the exports.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ItemFn;
use syn::spanned::Spanned;

use crate::args::{Args, Class};
use crate::schema::Faults;
use crate::signature::{Signature, read_signature};
use crate::{docs, key};

/// Limits of the contract (`record contract` in tool.wit).
const MAX_NAME_CHARS: usize = 64;
const MAX_DESCRIPTION_CHARS: usize = 4_096;

/// What a call may take if the tool does not say.
const DEFAULT_TIMEOUT_MS: u32 = 10_000;

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = syn::Error::new(error.span(), "#[tool] marks a function");
            let error = error.to_compile_error();
            return quote!(#error #item);
        }
    };
    let expanded = Args::parse(args).and_then(|args| exports(&args, &function));
    let generated = expanded.unwrap_or_else(|error| error.to_compile_error());
    // After an error nothing calls the function; the error says enough.
    quote!(#[allow(dead_code)] #function #generated)
}

fn exports(args: &Args, function: &ItemFn) -> syn::Result<TokenStream> {
    let name = &function.sig.ident;
    let Some((class, class_span)) = args.class else {
        let message = format!(
            "tool `{name}` has no class: add class = pure, read, reversible, external or \
             irreversible"
        );
        return Err(syn::Error::new(Span::call_site(), message));
    };
    let mut faults = Faults::default();
    check_name_and_docs(&mut faults, function);
    check_debts(&mut faults, args, name, class, class_span);
    let signature = read_signature(&mut faults, function, class);
    let key_fields = match args.key.as_ref().map(key::fields).transpose() {
        Ok(fields) => fields.unwrap_or_default(),
        Err(error) => {
            faults.push(error);
            Vec::new()
        }
    };
    let scope = args.scope().unwrap_or_else(|error| {
        faults.push(error);
        quote!(Session)
    });
    let (true, Some(signature)) = (faults.is_empty(), signature) else {
        return Ok(faults.into_tokens());
    };

    let Signature { input, output } = signature;
    let spec = spec(args, function, &scope);
    let class_module = format_ident!("{}", class.name());
    let functions = guest_functions(args, name, class, &signature);
    let key_check = (!key_fields.is_empty()).then(|| {
        let span = args
            .key
            .as_ref()
            .map_or_else(Span::call_site, Spanned::span);
        let parts = key_fields
            .iter()
            .map(|field| quote_spanned!(span=> ::stoplog_sdk::__rt::key_part(&input.#field);));
        quote! {
            #[allow(dead_code)]
            fn key_fields(input: &#input) { #(#parts)* }
        }
    });
    Ok(quote! {
        const _: () = {
            #[allow(dead_code)]
            struct Tool;

            impl ::stoplog_sdk::__rt::about::Guest for Tool {
                fn describe() -> ::stoplog_sdk::__rt::Contract {
                    ::stoplog_sdk::__rt::contract::<#input, #output>(#spec)
                }
            }

            impl ::stoplog_sdk::__rt::#class_module::Guest for Tool {
                #functions
            }

            #key_check

            // Only a component has exports; elsewhere the names would mean nothing.
            #[cfg(target_family = "wasm")]
            ::stoplog_sdk::__rt::about::export!(
                Tool with_types_in ::stoplog_sdk::__rt::about
            );
            #[cfg(target_family = "wasm")]
            ::stoplog_sdk::__rt::#class_module::export!(
                Tool with_types_in ::stoplog_sdk::__rt::#class_module
            );
        };
    })
}

/// The functions of the class's interface, each handed to the runtime with its types.
fn guest_functions(
    args: &Args,
    name: &Ident,
    class: Class,
    Signature { input, output }: &Signature<'_>,
) -> TokenStream {
    let text = quote!(::std::string::String);
    let result = |ok: TokenStream| quote!(::core::result::Result<#ok, ::stoplog_sdk::ToolError>);
    let said = result(text.clone());
    let found = result(quote!(::stoplog_sdk::__rt::WitFinding));
    let permit = quote!(::stoplog_sdk::Permit);
    let call = if class.writes() {
        quote! {
            fn call(input: #text, permit: #permit) -> #said {
                ::stoplog_sdk::__rt::call_write::<#input, #output>(&input, permit, #name)
            }
        }
    } else {
        quote! {
            fn call(input: #text) -> #said {
                ::stoplog_sdk::__rt::call::<#input, #output>(&input, #name)
            }
        }
    };
    let probe = args.probe.as_ref().map(|probe| {
        quote! {
            fn probe(input: #text, key: #text) -> #found {
                ::stoplog_sdk::__rt::probe::<#input, #output>(&input, &key, #probe)
            }
        }
    });
    let preview = args.preview.as_ref().map(|preview| {
        quote! {
            fn preview(input: #text) -> #said {
                ::stoplog_sdk::__rt::preview::<#input>(&input, #preview)
            }
        }
    });
    let undo = args.undo.as_ref().map(|undo| {
        quote! {
            fn undo(input: #text, output: #text, permit: #permit) -> #said {
                ::stoplog_sdk::__rt::undo::<#input, #output>(&input, &output, permit, #undo)
            }
        }
    });
    quote!(#call #probe #preview #undo)
}

/// The value of `stoplog_sdk::__rt::Spec`.
fn spec(args: &Args, function: &ItemFn, scope: &TokenStream) -> TokenStream {
    let name = function.sig.ident.to_string();
    let description = docs::text(&function.attrs);
    let key = match &args.key {
        Some(key) => quote! {
            ::core::option::Option::Some((#key, ::stoplog_sdk::__rt::KeyScope::#scope))
        },
        None => quote!(::core::option::Option::None),
    };
    let keeps_keys = args.keeps_keys.as_ref().is_some_and(|b| b.value());
    let settles = match &args.settles_within_ms {
        Some(number) => quote!(#number),
        None => quote!(0),
    };
    let timeout = match &args.timeout_ms {
        Some(number) => quote!(#number),
        None => quote!(#DEFAULT_TIMEOUT_MS),
    };
    let (egress, secrets, claims) = (&args.egress, &args.secrets, &args.claims);
    quote! {
        ::stoplog_sdk::__rt::Spec {
            name: #name,
            version: ::core::env!("CARGO_PKG_VERSION"),
            description: #description,
            key: #key,
            keeps_keys: #keeps_keys,
            settles_within_ms: #settles,
            timeout_ms: #timeout,
            egress: &[#(#egress),*],
            secrets: &[#(#secrets),*],
            claims: &[#(#claims),*],
        }
    }
}

fn check_name_and_docs(faults: &mut Faults, function: &ItemFn) {
    let ident = &function.sig.ident;
    let name = ident.to_string();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(plain)
        || name.len() > MAX_NAME_CHARS
    {
        let message = format!(
            "`{name}` cannot be the name of a tool: use a lower-case letter, then lower-case \
             letters, digits and `_`, {MAX_NAME_CHARS} characters at most"
        );
        faults.add(ident, message);
    }
    let description = docs::text(&function.attrs);
    if description.is_empty() {
        let message = format!(
            "tool `{name}` has no description: add a doc comment that tells the model what the \
             tool does and when to use it"
        );
        faults.add(ident, message);
    }
    if description.chars().count() > MAX_DESCRIPTION_CHARS {
        let message = format!(
            "the description of tool `{name}` is longer than {MAX_DESCRIPTION_CHARS} characters: \
             shorten its doc comment"
        );
        faults.add(ident, message);
    }
}

/// Checks that a class gives all that it owes, and nothing that it does not have.
fn check_debts(faults: &mut Faults, args: &Args, name: &Ident, class: Class, class_span: Span) {
    let word = class.name();
    if class.writes() && args.key.is_none() {
        let message = format!(
            "tool `{name}` is a write tool (class {word}) and has no key: add \
             key = \"{name}_{{field}}\", with the required input fields in braces that make two \
             calls the same act"
        );
        faults.push(syn::Error::new(class_span, message));
    }
    let functions = [
        (
            "probe",
            args.probe.is_some(),
            class.writes(),
            "add probe = probe, a fn(Input, &str) -> Result<Finding<Output>, ToolError> that \
             looks up by key whether it was done",
        ),
        (
            "preview",
            args.preview.is_some(),
            class == Class::Irreversible,
            "add preview = preview, a fn(Input) -> Result<String, ToolError> that says what a \
             person reads before they approve",
        ),
        (
            "undo",
            args.undo.is_some(),
            class == Class::Reversible,
            "add undo = undo, a fn(Input, Option<Output>, Permit) -> Result<String, ToolError> \
             that takes it back",
        ),
    ];
    for (function, given, owed, cure) in functions {
        if owed && !given {
            let message = format!("tool `{name}` (class {word}) has no {function}: {cure}");
            faults.push(syn::Error::new(class_span, message));
        }
        if given && !owed {
            let message =
                format!("tool `{name}` is of class {word}, which has no {function}: remove it");
            let span = args.place(function).unwrap_or(class_span);
            faults.push(syn::Error::new(span, message));
        }
    }
    let mut refuse = |names: &[&str], reason: &str| {
        for given in names
            .iter()
            .filter_map(|n| args.given.iter().find(|g| g == n))
        {
            let message =
                format!("tool `{name}` is of class {word}, which {reason}: remove `{given}`");
            faults.add(given, message);
        }
    };
    if !class.writes() {
        let names = ["key", "scope", "keeps_keys", "settles_within_ms"];
        refuse(&names, "changes nothing");
    }
    if class == Class::Pure {
        refuse(&["egress", "secrets"], "reaches nothing");
    }
}
