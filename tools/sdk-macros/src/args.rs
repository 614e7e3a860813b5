//! The arguments of `#[tool(..)]`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{LitBool, LitInt, LitStr, Path, Token, bracketed};

/// The blast-radius class of a tool: what it may do, and what it owes for that.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Pure,
    Read,
    Reversible,
    External,
    Irreversible,
}

impl Class {
    fn parse(word: &Ident) -> syn::Result<Self> {
        Ok(match word.to_string().as_str() {
            "pure" => Self::Pure,
            "read" => Self::Read,
            "reversible" => Self::Reversible,
            "external" => Self::External,
            "irreversible" => Self::Irreversible,
            other => {
                let message = format!(
                    "`{other}` is not a class: use pure (computes), read (looks), reversible \
                     (changes what can be changed back), external (changes something at someone \
                     else's) or irreversible (changes what cannot be changed back)"
                );
                return Err(syn::Error::new(word.span(), message));
            }
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Read => "read",
            Self::Reversible => "reversible",
            Self::External => "external",
            Self::Irreversible => "irreversible",
        }
    }

    /// True if the tool changes the outside world, and so needs a key, a permit and a probe.
    pub(crate) fn writes(self) -> bool {
        !matches!(self, Self::Pure | Self::Read)
    }
}

/// The arguments as written. What a class owes is checked by `tool`.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) class: Option<(Class, Span)>,
    pub(crate) key: Option<LitStr>,
    pub(crate) scope: Option<Ident>,
    pub(crate) keeps_keys: Option<LitBool>,
    pub(crate) settles_within_ms: Option<LitInt>,
    pub(crate) timeout_ms: Option<LitInt>,
    pub(crate) egress: Vec<LitStr>,
    pub(crate) secrets: Vec<LitStr>,
    pub(crate) claims: Vec<LitStr>,
    pub(crate) preview: Option<Path>,
    pub(crate) probe: Option<Path>,
    pub(crate) undo: Option<Path>,
    /// Names that were given, with their places.
    pub(crate) given: Vec<Ident>,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream) -> syn::Result<Self> {
        Parser::parse2(parse, tokens)
    }

    /// Where an argument was given.
    pub(crate) fn place(&self, name: &str) -> Option<Span> {
        self.given.iter().find(|g| *g == name).map(Ident::span)
    }

    pub(crate) fn scope(&self) -> syn::Result<TokenStream> {
        let Some(scope) = &self.scope else {
            return Ok(quote!(Session));
        };
        match scope.to_string().as_str() {
            "session" => Ok(quote!(Session)),
            "tenant" => Ok(quote!(Tenant)),
            other => Err(syn::Error::new(
                scope.span(),
                format!(
                    "`{other}` is not a scope: use session (once in one conversation) or tenant \
                     (once for the customer, whichever conversation decides)"
                ),
            )),
        }
    }
}

fn parse(input: ParseStream<'_>) -> syn::Result<Args> {
    let mut args = Args::default();
    while !input.is_empty() {
        let name: Ident = input.parse()?;
        let text = name.to_string();
        if args.given.contains(&name) {
            let message = format!("`{text}` is given twice: keep one");
            return Err(syn::Error::new(name.span(), message));
        }
        input.parse::<Token![=]>()?;
        match text.as_str() {
            "class" => {
                let word: Ident = input.parse()?;
                args.class = Some((Class::parse(&word)?, word.span()));
            }
            "key" => args.key = Some(input.parse()?),
            "scope" => args.scope = Some(input.parse()?),
            "keeps_keys" => args.keeps_keys = Some(input.parse()?),
            "settles_within_ms" => args.settles_within_ms = Some(milliseconds(input)?),
            "timeout_ms" => args.timeout_ms = Some(milliseconds(input)?),
            "egress" => args.egress = list(input, &text, is_origin)?,
            "secrets" => args.secrets = list(input, &text, is_secret)?,
            "claims" => args.claims = list(input, &text, is_phrase)?,
            "preview" => args.preview = Some(input.parse()?),
            "probe" => args.probe = Some(input.parse()?),
            "undo" => args.undo = Some(input.parse()?),
            other => {
                let message = format!(
                    "unknown argument `{other}`: a tool takes class, key, scope, keeps_keys, \
                     settles_within_ms, timeout_ms, egress, secrets, claims, preview, probe and undo"
                );
                return Err(syn::Error::new(name.span(), message));
            }
        }
        args.given.push(name);
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(args)
}

fn milliseconds(input: ParseStream<'_>) -> syn::Result<LitInt> {
    let number: LitInt = input.parse()?;
    number.base10_parse::<u32>()?;
    Ok(number)
}

/// A list of texts, each of which must pass `fits`, or the message says how it should look.
fn list(
    input: ParseStream<'_>,
    name: &str,
    fits: fn(&str) -> Result<(), &'static str>,
) -> syn::Result<Vec<LitStr>> {
    let content;
    bracketed!(content in input);
    let items = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
    for item in &items {
        if let Err(wanted) = fits(&item.value()) {
            let message = format!("{:?} in {name}: {wanted}", item.value());
            return Err(syn::Error::new(item.span(), message));
        }
    }
    Ok(items.into_iter().collect())
}

fn is_origin(text: &str) -> Result<(), &'static str> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(()),
        _ => Err("write an origin, like \"https://api.example.com\""),
    }
}

fn is_secret(text: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        Ok(())
    } else {
        Err("write the name of a secret in letters, digits, `_` and `-`, like \"API_TOKEN\"")
    }
}

/// The host compiles them, and says what is wrong with one.
fn is_phrase(text: &str) -> Result<(), &'static str> {
    match text.trim().is_empty() {
        true => Err("write what an answer may say once the tool has succeeded, like \"refunded\""),
        false => Ok(()),
    }
}
