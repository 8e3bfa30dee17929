//! Overlays: who is whose neighbour.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How replicas are linked.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// A partial mesh: all on a ring, each linked to the nearest ones on both sides.
    Mesh,
    /// A tree: each but the leaves has two children.
    Tree,
}

/// An overlay in which a scenario can be run in place of speaking to everyone through the broker.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// What a run with it is, in a line, in place of `title`.
    pub title: String,
    /// How replicas are linked.
    pub topology: Topology,
    /// Of a mesh, how many links each has; even, and fewer than there are replicas.
    #[serde(default = "four")]
    pub degree: u32,
    /// How often each sends what is new, in milliseconds.
    pub interval_ms: u32,
    /// In place of the scenario's `published_from`.
    #[serde(default)]
    pub published_from: Vec<String>,
}

fn four() -> u32 {
    4
}

impl Overlay {
    /// The neighbours of one of so many, by their numbers.
    pub fn neighbours(&self, of: usize, count: usize) -> Vec<usize> {
        let linked: BTreeSet<usize> = match self.topology {
            Topology::Mesh => {
                let steps = 1..=self.degree as usize / 2;
                steps.flat_map(|step| [(of + step) % count, (of + count - step % count) % count]).collect()
            }
            Topology::Tree => {
                let parent = of.checked_sub(1).map(|before| before / 2);
                parent.into_iter().chain([2 * of + 1, 2 * of + 2].into_iter().filter(|child| *child < count)).collect()
            }
        };
        linked.into_iter().filter(|other| *other != of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(topology: Topology, degree: u32) -> Overlay {
        Overlay { title: "x".to_owned(), topology, degree, interval_ms: 1_000, published_from: Vec::new() }
    }

    #[test]
    fn links_have_two_ends_and_as_many_as_the_papers() {
        let links = |overlay: &Overlay, count: usize| -> usize {
            let of: Vec<Vec<usize>> = (0..count).map(|of| overlay.neighbours(of, count)).collect();
            for (one, others) in of.iter().enumerate() {
                others.iter().for_each(|other| assert!(of[*other].contains(&one), "{other} knows nothing of {one}"));
            }
            of.iter().map(Vec::len).sum::<usize>() / 2
        };
        let (mesh, tree) = (overlay(Topology::Mesh, 4), overlay(Topology::Tree, 4));
        assert_eq!((links(&mesh, 15), links(&tree, 15), links(&mesh, 50)), (30, 14, 100));
        assert_eq!(mesh.neighbours(0, 15), [1, 2, 13, 14]);
        assert_eq!(
            (tree.neighbours(0, 15), tree.neighbours(3, 15), tree.neighbours(14, 15)),
            (vec![1, 2], vec![1, 7, 8], vec![6])
        );
    }
}
