//! How much memory the process has.

/// The bytes of the process that are in memory now; none where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    // In kB whatever the size of pages is, unlike `statm`.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn linux_tells() {
        assert!(super::resident_bytes().expect("it is told") > 100_000);
    }
}
