//! The signature of a tool: its two types, and whether it fits the class.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{FnArg, GenericArgument, ItemFn, PathArguments, ReturnType, Type};

use crate::args::Class;
use crate::schema::Faults;

/// The two types of a tool, as written in its signature.
pub(crate) struct Signature<'a> {
    pub(crate) input: &'a Type,
    pub(crate) output: &'a Type,
}

/// The types of the signature, or faults.
pub(crate) fn read_signature<'a>(
    faults: &mut Faults,
    function: &'a ItemFn,
    class: Class,
) -> Option<Signature<'a>> {
    let sig = &function.sig;
    let name = &sig.ident;
    if let Some(token) = &sig.asyncness {
        faults.add(token, "a tool is a plain function: remove `async`");
    }
    if !sig.generics.params.is_empty() {
        faults.add(
            &sig.generics,
            "a tool has one input type: remove the generic parameters",
        );
    }
    let word = class.name();
    let shape = if class.writes() {
        format!("fn {name}(input: Input, permit: Permit) -> Result<Output, ToolError>")
    } else {
        format!("fn {name}(input: Input) -> Result<Output, ToolError>")
    };
    let mut parameters = sig.inputs.iter();
    let input = match parameters.next() {
        Some(FnArg::Typed(input)) => Some(&*input.ty),
        _ => {
            faults.add(name, format!("tool `{name}` takes no input: write {shape}"));
            return None;
        }
    };
    match (class.writes(), parameters.next()) {
        (true, None) => {
            let message = format!(
                "tool `{name}` is a write tool (class {word}) and takes no permit: write {shape}"
            );
            faults.add(&sig.inputs, message);
        }
        (false, Some(permit)) => {
            let message = format!(
                "tool `{name}` is of class {word}, which changes nothing and gets no permit: \
                 remove the parameter, or declare a write class (reversible, external, \
                 irreversible)"
            );
            faults.add(permit, message);
        }
        _ => {}
    }
    if let Some(third) = parameters.next() {
        faults.add(
            third,
            format!("a tool takes no more parameters: write {shape}"),
        );
    }
    let output = output_type(&sig.output);
    if output.is_none() {
        let message = format!("tool `{name}` must return a Result: write {shape}");
        faults.push(syn::Error::new(output_span(sig), message));
    }
    Some(Signature {
        input: input?,
        output: output?,
    })
}

/// Where a wrong return type is shown: at the name if there is none.
fn output_span(sig: &syn::Signature) -> Span {
    match &sig.output {
        ReturnType::Default => sig.ident.span(),
        ReturnType::Type(_, ty) => ty.span(),
    }
}

/// `O` of `Result<O, _>`.
fn output_type(output: &ReturnType) -> Option<&Type> {
    let ReturnType::Type(_, ty) = output else {
        return None;
    };
    let Type::Path(path) = &**ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(output) if last.ident == "Result" => Some(output),
        _ => None,
    }
}
