//! What policies have in common: the bindings of `nesos:policy`, and a way to write a policy as a value
//! with methods. It knows no policy.

pub mod share;

mod bindings {
    wit_bindgen::generate!({
        path: "../../sdk-guest/wit/policy",
        world: "policy",
        pub_export_macro: true,
        default_bindings_module: "nesos_policies",
    });
}

#[doc(hidden)]
pub use bindings::*;

pub use bindings::exports::nesos::policy::order::{
    Amount, Change, ClientId, CustomScalar, Guest, Holding, NewClient, RoleSettings, Wish,
};

/// A policy: a value that is told of changes and names clients.
pub trait Policy: Default {
    /// Something has changed.
    fn change(&mut self, change: Change);

    /// A turn begins: the clients that want offers are to be named from the first.
    fn begin(&mut self, now_ms: u64);

    /// The client that is asked next in this turn; none after the last.
    fn next(&mut self) -> Option<ClientId>;
}

/// Makes a [`Policy`] the component's.
#[macro_export]
macro_rules! policy {
    ($policy:ty) => {
        thread_local! {
            static POLICY: ::core::cell::RefCell<$policy> = ::core::default::Default::default();
        }

        struct Component;

        impl $crate::Guest for Component {
            fn turn(now_ms: u64, changes: Vec<$crate::Change>) -> Option<$crate::ClientId> {
                POLICY.with_borrow_mut(|policy| {
                    for change in changes {
                        $crate::Policy::change(policy, change);
                    }
                    $crate::Policy::begin(policy, now_ms);
                    $crate::Policy::next(policy)
                })
            }

            fn another(most: u32) -> Vec<$crate::ClientId> {
                POLICY.with_borrow_mut(|policy| {
                    let next = || $crate::Policy::next(policy);
                    ::core::iter::from_fn(next).take(most as usize).collect()
                })
            }
        }

        $crate::export!(Component);
    };
}
