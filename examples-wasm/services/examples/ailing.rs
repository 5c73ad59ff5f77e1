//! Says of itself that it is well until it was asked for `/sick`, of which a file tells its other instances; well
//! again after `/well`.

use std::fs;

use nesos_services::answer;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

#[expect(unsafe_code, reason = "generated: how a component is called")]
mod bindings {
    use super::Ailing;

    wit_bindgen::generate!({
        path: "../../sdk-guest/wit/guest",
        inline: "
            package nesos:ailing;
            world ailing {
                export nesos:guest/health@0.1.0;
            }
        ",
        world: "nesos:ailing/ailing",
    });

    export!(Ailing);
}

/// Is there while the service is sick.
const SICK: &str = "/sick";

struct Ailing;

wasip2::http::proxy::export!(Ailing);

impl bindings::exports::nesos::guest::health::Guest for Ailing {
    fn healthy() -> Result<(), String> {
        match fs::exists(SICK) {
            Ok(true) => Err("it was asked to be sick".to_owned()),
            Ok(false) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl wasip2::exports::http::incoming_handler::Guest for Ailing {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match request.path_with_query().as_deref() {
            Some("/sick") => fs::write(SICK, b"").expect("a writable root"),
            Some("/well") => fs::remove_file(SICK).expect("it was sick"),
            _ => {}
        }
        let sick = fs::exists(SICK).expect("a readable root");
        if sick {
            answer(out, 503, "sick\n");
        } else {
            answer(out, 200, "well\n");
        }
    }
}
