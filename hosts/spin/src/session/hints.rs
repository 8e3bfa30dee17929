//! What has to be changed where, on Spin.

use dayfly_amqp::{Hints, Refusal};

use super::Address;

/// What this host calls its settings.
pub const HINTS: Hints = Hints {
    other_settings: "set the variables `retention`, `inbox_mib` and `log_mib` to what the cluster's other replicas use",
    credentials: "check user and password in the variable `broker`",
    vhost: "check the path of the URL in the variable `broker`",
    perhaps_tls: "put a proxy beside it that ends TLS, as stunnel does: TLS is not available inside Spin",
};

/// Spin did not let the guest connect there.
pub fn outbound_denied(address: &Address) -> Refusal {
    Refusal::Refused(format!(
        "Spin does not let this component connect to {address}; permit the address (IP:PORT) by the variable \
         `broker_address`, which spin.toml has in `allowed_outbound_hosts`"
    ))
}
