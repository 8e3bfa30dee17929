//! A server on a free port of this machine, for as long as this value lives.

use std::net::SocketAddr;

use axum::Router;
use tokio::runtime::Runtime;

pub struct Server {
    address: SocketAddr,
    /// Ends what it serves when it is dropped.
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads are to be had");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            let service = |stream| {
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                let connection = hyper::server::conn::http1::Builder::new();
                connection.serve_connection(hyper_util::rt::TokioIo::new(stream), service)
            };
            while let Ok((stream, _)) = listener.accept().await {
                // How a connection ends is its client's affair.
                tokio::spawn(service(stream));
            }
        });
        Self { address, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
