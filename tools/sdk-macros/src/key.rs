//! Key templates: `refund_{order_id}_{reason}`.

use proc_macro2::Ident;
use syn::LitStr;

/// The longest template. The contract allows 200 characters once filled in; a template that is
/// longer than that by itself can never be filled in.
const MAX_TEMPLATE_CHARS: usize = 200;

/// The names in braces, as identifiers with the span of the template.
pub(crate) fn fields(template: &LitStr) -> syn::Result<Vec<Ident>> {
    let text = template.value();
    let fault = |message: String| Err(syn::Error::new(template.span(), message));
    if text.is_empty() {
        return fault(
            "the key is empty: write a word and fields, like \"refund_{order_id}\"".into(),
        );
    }
    if text.chars().count() > MAX_TEMPLATE_CHARS {
        return fault(format!(
            "the key is longer than {MAX_TEMPLATE_CHARS} characters: shorten it"
        ));
    }
    let mut names = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        if rest[at..].starts_with('}') {
            return fault(format!(
                "the key {text:?} has a `}}` without a `{{`: remove it"
            ));
        }
        let inside = &rest[at + 1..];
        let Some(end) = inside.find('}') else {
            return fault(format!(
                "the key {text:?} has a `{{` without a `}}`: close it"
            ));
        };
        let name = &inside[..end];
        match syn::parse_str::<Ident>(name) {
            Ok(mut ident) => {
                ident.set_span(template.span());
                names.push(ident);
            }
            Err(_) => {
                return fault(format!(
                    "the key {text:?} has `{{{name}}}`: only the name of an input field may \
                     stand in braces"
                ));
            }
        }
        rest = &inside[end + 1..];
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::fields;
    use proc_macro2::Span;
    use syn::LitStr;

    fn check(template: &str, expected: Result<&[&str], &str>) {
        let found = fields(&LitStr::new(template, Span::call_site()));
        match (found, expected) {
            (Ok(names), Ok(expected)) => assert_eq!(names, expected, "{template}"),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{template}: {error}");
            }
            (found, _) => panic!("{template}: {found:?}"),
        }
    }

    #[test]
    fn names_are_read_and_broken_templates_refused() {
        check("refund_{order_id}_{reason}", Ok(&["order_id", "reason"]));
        check("daily", Ok(&[]));
        check("", Err("empty"));
        check("a_{b", Err("close it"));
        check("a_b}", Err("remove it"));
        check("a_{}", Err("only the name"));
        check("a_{b.c}", Err("only the name"));
        check(&"x".repeat(201), Err("longer than 200"));
    }
}
