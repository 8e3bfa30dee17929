//! The part that runs in Spin alone.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

mod bindings {
    //! The replica's interfaces, as the component that stands beside this one exports them.
    #![allow(missing_docs, reason = "documented in wit/")]
    spin_sdk::wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package dayfly:spin;
            world host {
                import dayfly:replica/lifecycle@0.1.0;
                import dayfly:replica/inbox@0.1.0;
                import dayfly:replica/outbox@0.1.0;
                import dayfly:replica/api@0.1.0;
                import dayfly:replica/checkpoint@0.1.0;
            }
        ",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let _ = bindings::dayfly::replica::lifecycle::tick;
    format!("{} {}\n", request.method(), request.uri())
}
