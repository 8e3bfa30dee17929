//! What an entry belongs to: a key, and within a map the path to the field.

use std::rc::Rc;

/// The types of values. The numbers stand on the wire: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DataType {
    /// Grow-only counter.
    GCounter = 1,
    /// Counter.
    PnCounter = 2,
    /// Grow-only set.
    GSet = 3,
    /// Add-wins set.
    OrSet = 4,
    /// Remove-wins set.
    RwSet = 5,
    /// Last-writer-wins register.
    LwwRegister = 6,
    /// Multi-value register.
    MvRegister = 7,
    /// Enable-wins flag.
    EwFlag = 8,
    /// Disable-wins flag.
    DwFlag = 9,
    /// Greatest number.
    MaxRegister = 10,
    /// Least number.
    MinRegister = 11,
    /// Nested map.
    Map = 12,
}

impl DataType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::GCounter,
        Self::PnCounter,
        Self::GSet,
        Self::OrSet,
        Self::RwSet,
        Self::LwwRegister,
        Self::MvRegister,
        Self::EwFlag,
        Self::DwFlag,
        Self::MaxRegister,
        Self::MinRegister,
        Self::Map,
    ];

    /// The type's name in the HTTP API.
    pub fn name(self) -> &'static str {
        match self {
            Self::GCounter => "gcounter",
            Self::PnCounter => "pncounter",
            Self::GSet => "gset",
            Self::OrSet => "orset",
            Self::RwSet => "rwset",
            Self::LwwRegister => "lwwregister",
            Self::MvRegister => "mvregister",
            Self::EwFlag => "ewflag",
            Self::DwFlag => "dwflag",
            Self::MaxRegister => "maxregister",
            Self::MinRegister => "minregister",
            Self::Map => "map",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| data_type.name() == name)
    }

    /// The type of this number on the wire.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|data_type| *data_type as u8 == number)
    }

    /// Whether of each writer's entries in a cell only the newest counts, which its own next write replaces.
    pub fn is_counter(self) -> bool {
        matches!(self, Self::GCounter | Self::PnCounter)
    }

    /// Whether a cell's entries are elements.
    pub fn is_set(self) -> bool {
        matches!(self, Self::GSet | Self::OrSet | Self::RwSet)
    }

    /// The part of a payload by which a cell's entries are ordered and found: the element of a set; nothing for others,
    /// whose entries stand in the order of their dots.
    pub fn element(self, payload: &[u8]) -> &[u8] {
        match self {
            Self::GSet | Self::OrSet => payload,
            // The first byte tells whether it was added or removed.
            Self::RwSet => &payload[1..],
            Self::GCounter
            | Self::PnCounter
            | Self::LwwRegister
            | Self::MvRegister
            | Self::EwFlag
            | Self::DwFlag
            | Self::MaxRegister
            | Self::MinRegister
            | Self::Map => &[],
        }
    }
}

/// The longest name of a key or of a map's field, in bytes; the shortest is 1.
pub const NAME_MAX_BYTES: usize = 1024;
/// The most fields on a path in a map.
pub const PATH_MAX_FIELDS: usize = 32;
/// The most bytes of all names on a path in a map.
pub const PATH_MAX_BYTES: usize = 2048;

/// Where an entry belongs. A key of a plain type is one cell; a map is one cell for each of its leaves.
///
/// The order, by name first, makes a key, a map's subtree and all keys with a prefix contiguous ranges.
///
/// Invariant: the path is empty exactly if `key_type` is not `Map`, and then `leaf == key_type`; a leaf is never `Map`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The key's name.
    pub name: Rc<str>,
    /// The key's type.
    pub key_type: DataType,
    /// The fields from the map's root to the leaf.
    pub path: Vec<Rc<str>>,
    /// The type of what the cell holds.
    pub leaf: DataType,
}

impl Cell {
    /// The only cell of a key of a plain type. For a map it is the lower end of the map's range, and holds nothing.
    pub fn of_key(name: &str, key_type: DataType) -> Self {
        Self { name: name.into(), key_type, path: Vec::new(), leaf: key_type }
    }

    /// Whether the invariant and the bounds hold; false for what only a broken or hostile frame can bring.
    pub fn is_valid(&self) -> bool {
        let is_name = |name: &str| (1..=NAME_MAX_BYTES).contains(&name.len());
        let form = match self.key_type {
            DataType::Map => !self.path.is_empty() && self.leaf != DataType::Map,
            plain => self.path.is_empty() && self.leaf == plain,
        };
        form && is_name(&self.name)
            && self.path.len() <= PATH_MAX_FIELDS
            && self.path.iter().all(|field| is_name(field))
            && self.path.iter().map(|field| field.len()).sum::<usize>() <= PATH_MAX_BYTES
    }

    /// Whether the cell is a leaf of the map field with this path, whatever the field's type.
    pub fn is_under(&self, path: &[Rc<str>]) -> bool {
        self.path.starts_with(path)
    }

    /// Bytes that the cell takes on the heap and on the wire, roughly.
    pub fn text_bytes(&self) -> usize {
        self.name.len() + self.path.iter().map(|field| field.len() + 8).sum::<usize>()
    }
}
