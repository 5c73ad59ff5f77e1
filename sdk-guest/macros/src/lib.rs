//! The attributes of `nesos-guest`; they are documented there.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, ItemImpl, parse_macro_input};

/// Makes an `impl Executor` the component's.
#[proc_macro_attribute]
pub fn executor(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemImpl);
    let result = no_arguments(attribute).and_then(|()| match &item.trait_ {
        Some(_) if item.generics.params.is_empty() => Ok(()),
        Some(_) => Err(Error::new_spanned(
            &item.generics,
            "an executor has no type parameters: the component needs one type",
        )),
        None => Err(Error::new_spanned(
            &item.self_ty,
            "#[executor] belongs on `impl Executor for …`",
        )),
    });
    let name = &item.self_ty;
    let exported = quote! {
        #[cfg(target_family = "wasm")]
        ::nesos_guest::__export_executor!(#name);
    };
    with(result, quote!(#item), exported)
}

/// Makes a function of one task the program's `main`.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemFn);
    let result = no_arguments(attribute).and_then(|()| takes_one(&item));
    let (attributes, name, parameters) = (&item.attrs, &item.sig.ident, &item.sig.inputs);
    let (output, block) = (&item.sig.output, &item.block);
    if let Err(error) = result {
        return error.into_compile_error().into();
    }
    if name != "main" {
        let error = Error::new_spanned(name, "#[task] belongs on the function `main`");
        return error.into_compile_error().into();
    }
    quote! {
        fn main() -> ::std::process::ExitCode {
            #(#attributes)*
            fn task(#parameters) #output #block
            ::nesos_guest::__run_task(task)
        }
    }
    .into()
}

/// Makes a function what the children of an executor run.
#[proc_macro_attribute]
pub fn child(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemFn);
    let result = no_arguments(attribute).and_then(|()| takes_one(&item));
    let name = &item.sig.ident;
    let exported = quote! {
        #[cfg(target_family = "wasm")]
        ::nesos_guest::__export_child!(#name);
    };
    with(result, quote!(#item), exported)
}

fn no_arguments(attribute: TokenStream) -> Result<(), Error> {
    if attribute.is_empty() {
        return Ok(());
    }
    let attribute = proc_macro2::TokenStream::from(attribute);
    Err(Error::new_spanned(
        attribute,
        "this attribute takes no arguments",
    ))
}

fn takes_one(item: &ItemFn) -> Result<(), Error> {
    if let Some(asyncness) = &item.sig.asyncness {
        return Err(Error::new_spanned(
            asyncness,
            "this function cannot be async",
        ));
    }
    if item.sig.inputs.len() == 1 {
        return Ok(());
    }
    Err(Error::new_spanned(
        &item.sig,
        "this function takes one parameter, a `Task`",
    ))
}

fn with(
    checked: Result<(), Error>,
    item: proc_macro2::TokenStream,
    exported: proc_macro2::TokenStream,
) -> TokenStream {
    match checked {
        Ok(()) => quote!(#item #exported).into(),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error).into()
        }
    }
}
