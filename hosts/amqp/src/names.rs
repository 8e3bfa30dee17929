//! What a cluster's things are called on the broker.

/// The names of a cluster's exchange and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
    /// The exchange that everyone's inbox is bound to.
    pub everyone: String,
    /// The queue with competing consumers.
    pub anyone: String,
    /// The queue with a single active consumer.
    pub combiner: String,
    /// The stream that keeps what went to everyone.
    pub log: String,
}

impl Names {
    /// The names in this cluster.
    ///
    /// # Errors
    /// It is no name of a cluster; the text tells what one is.
    pub fn new(cluster: &str) -> Result<Self, String> {
        let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if cluster.is_empty() || cluster.len() > 64 || !cluster.chars().all(is_of_name) {
            return Err(format!("`{cluster}` is no name of a cluster: 1 to 64 of a-z, 0-9, -, _, ."));
        }
        let prefix = format!("dayfly.{cluster}");
        Ok(Self {
            everyone: format!("{prefix}.everyone"),
            anyone: format!("{prefix}.anyone"),
            combiner: format!("{prefix}.combiner"),
            log: format!("{prefix}.log"),
            prefix,
        })
    }

    /// The inbox of the replica of this name.
    pub fn inbox(&self, name: &str) -> String {
        format!("{}.node.{name}", self.prefix)
    }

    /// What somebody who tries whether the broker permits all calls its temporary things. `random` tells it from
    /// others.
    pub fn doctor(&self, random: u64) -> String {
        format!("{}.doctor.{random:016x}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn each_thing_of_a_cluster_has_its_own_name() {
        let names = Names::new("c-1_x.y").expect("it is a name");
        assert_eq!(names.everyone, "dayfly.c-1_x.y.everyone");
        assert_eq!(names.anyone, "dayfly.c-1_x.y.anyone");
        assert_eq!(names.combiner, "dayfly.c-1_x.y.combiner");
        assert_eq!(names.log, "dayfly.c-1_x.y.log");
        assert_eq!(names.inbox("a"), "dayfly.c-1_x.y.node.a");
        assert_eq!(names.doctor(255), "dayfly.c-1_x.y.doctor.00000000000000ff");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for cluster in ["", "C", "a b", "ä", &"x".repeat(65)] {
            let reason = Names::new(cluster).expect_err("it is none");
            assert!(reason.contains("is no name of a cluster"), "{reason}");
        }
        Names::new(&"x".repeat(64)).expect("it is just short enough");
    }
}
