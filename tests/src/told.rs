//! The settings of a scenario as hosts are told them: by names and units that all have in common.

use dayfly_conformance::act::Settings;

/// A setting's name, as that of the flag of `dayfly node`, and its value.
pub type Told = (&'static str, String);

/// What a replica of these own settings is told, where the others of the scenario are usual.
///
/// # Errors
/// Hosts have no such setting, or not so finely.
pub fn told(usual: &Settings, own: &Settings) -> Result<Vec<Told>, &'static str> {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    let given = [
        ("frame-kib", own.frame_bytes.or(usual.frame_bytes).map(u64::from), KIB),
        ("repair-kib", own.repair_bytes.or(usual.repair_bytes).map(u64::from), KIB),
        ("store-mib", own.store_bytes.or(usual.store_bytes), MIB),
        ("inbox-mib", own.inbox_bytes.or(usual.inbox_bytes).map(|bytes| bytes as u64), MIB),
        ("retention", own.retention_ms.or(usual.retention_ms), 1_000),
        ("burst-ms", own.burst_ms.or(usual.burst_ms).map(u64::from), 1),
        ("combine-above", own.combine_above.or(usual.combine_above).map(u64::from), 1),
        ("combine-ms", own.combine_ms.or(usual.combine_ms).map(u64::from), 1),
        ("log-mib", own.log_bytes.or(usual.log_bytes), MIB),
    ];
    let others = [own, usual].into_iter().any(|settings| {
        settings.host.is_some()
            || settings.component_hash.is_some()
            || settings.skew_ms.is_some()
            || settings.bootstrap_ms.is_some()
    });
    let is_whole = |(_, value, unit): &(&str, Option<u64>, u64)| value.is_none_or(|value| value % unit == 0);
    if others || !given.iter().all(is_whole) {
        return Err("the host has no such setting");
    }
    let written = |(name, value, unit): (&'static str, Option<u64>, u64)| Some((name, (value? / unit).to_string()));
    Ok(given.into_iter().filter_map(written).collect())
}
