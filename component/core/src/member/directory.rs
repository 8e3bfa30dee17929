//! Members by name. In large clusters this table is most of what a replica has, so a member takes some 60 bytes of it in the
//! component; a B-tree would take 90, and be slower.

use std::hash::{DefaultHasher, Hasher};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::Member;
use crate::blocks::{Blocks, Position};
use crate::pages::Pages;

/// The bytes of a name. Those that replicas make for themselves have 16, which take no heap.
type Name = SmallVec<[u8; 16]>;

/// The table.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    members: Pages<Named>,
    /// Their indices, by name.
    order: Blocks<u32>,
    /// Their indices, to be found at once.
    found: HashTable<u32>,
}

/// The same everywhere: with no key of this process.
fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

#[derive(Clone, Debug)]
struct Named {
    name: Name,
    member: Member,
}

impl Named {
    fn name(&self) -> &str {
        str::from_utf8(&self.name).expect("it was a text")
    }
}

impl Directory {
    /// How many.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.find(name).map(|index| &self.members.get(index).member)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.find(name).map(|index| &mut self.members.get_mut(index).member)
    }

    /// Adds a member, of whose name there is none.
    pub fn insert(&mut self, name: &str, member: Member) {
        let Err(place) = self.search(name.as_bytes()) else { panic!("a member stands twice") };
        let index = self.members.push(Named { name: Name::from_slice(name.as_bytes()), member });
        self.order.insert_at(place, index);
        self.finds(index);
    }

    /// Removes the member of this name, if there is one.
    pub fn remove(&mut self, name: &str) {
        let Ok(place) = self.search(name.as_bytes()) else { return };
        let last = self.members.last().expect("one was found").name.clone();
        let place_of_last = self.search(&last).expect("the order has all");
        let last = self.order.get(place_of_last).expect("it was found there");
        let index = self.order.replace_at(place, last);
        // The last one moves to where the removed one was.
        self.order.replace_at(place_of_last, index);
        self.forget(index);
        if index != last {
            self.forget(last);
        }
        self.members.swap(index, last);
        self.members.pop();
        self.order.remove_at(place);
        if index != last {
            self.finds(index);
        }
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Member)> + '_ {
        self.order.iter().map(|index| self.members.get(index)).map(|named| (named.name(), &named.member))
    }

    /// Does something with each, by name.
    pub fn for_each_mut(&mut self, mut with: impl FnMut(&str, &mut Member)) {
        for index in &self.order {
            let Named { name, member } = self.members.get_mut(index);
            with(str::from_utf8(name).expect("it was a text"), member);
        }
    }

    /// Removes those of whom this is false.
    pub fn retain(&mut self, keep: impl Fn(&Member) -> bool) {
        let gone: Vec<String> =
            self.iter().filter(|(_, member)| !keep(member)).map(|(name, _)| name.to_owned()).collect();
        gone.iter().for_each(|name| self.remove(name));
    }

    fn find(&self, name: &str) -> Option<u32> {
        let name = name.as_bytes();
        self.found.find(hash(name), |index| self.members.get(*index).name[..] == *name).copied()
    }

    /// Lets the member at an index be found.
    fn finds(&mut self, index: u32) {
        let hash = |index: &u32| hash(&self.members.get(*index).name);
        self.found.insert_unique(hash(&index), index, hash);
    }

    /// Lets it be found no more.
    fn forget(&mut self, index: u32) {
        let hash = hash(&self.members.get(index).name);
        self.found.find_entry(hash, |other| *other == index).expect("all are found").remove();
    }

    fn search(&self, name: &[u8]) -> Result<Position, Position> {
        self.order.search(|index| self.members.get(*index).name[..].cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::member::Place;
    use crate::time::Timestamp;

    fn member(incarnation: u64) -> Member {
        let place = Rc::new(Place { host: String::new(), region: String::new(), zone: String::new() });
        Member {
            incarnation,
            awake_until: Timestamp(0),
            place,
            left: false,
            complete: false,
            is_silent: false,
            is_combiner: false,
            roots: None,
        }
    }

    proptest! {
        /// It is a map from names to members, whatever comes and goes.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..400_u64, 0..4_u8), 0..600)) {
            let (mut directory, mut map) = (Directory::default(), BTreeMap::new());
            for (at, (number, act)) in steps.into_iter().enumerate() {
                let name = format!("{:0width$}", number, width = 1 + number as usize % 20);
                match act {
                    0 => {
                        directory.remove(&name);
                        map.remove(&name);
                    }
                    1 if number % 16 == 0 => {
                        directory.retain(|member| member.incarnation % 3 > 0);
                        map.retain(|_, incarnation| *incarnation % 3 > 0);
                    }
                    _ => {
                        match directory.get_mut(&name) {
                            Some(known) => known.incarnation = at as u64,
                            None => directory.insert(&name, member(at as u64)),
                        }
                        map.insert(name, at as u64);
                    }
                }
                prop_assert_eq!(directory.len(), map.len());
            }
            prop_assert!(directory.iter().map(|(name, member)| (name, &member.incarnation)).eq(
                map.iter().map(|(name, incarnation)| (&**name, incarnation))
            ));
            prop_assert!(map.iter().all(|(name, incarnation)| directory.get(name).map(|it| it.incarnation) == Some(*incarnation)));
            let mut shown = Vec::new();
            directory.for_each_mut(|name, _| shown.push(name.to_owned()));
            prop_assert!(shown.iter().eq(map.keys()));
        }
    }
}
