//! The two things from a broker that hold tables, of which only what we need is read: tables are passed over whole.

/// The broker's greeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// 0 and 9.
    pub(super) version: (u8, u8),
    /// Whether it takes user and password.
    pub(super) takes_plain: bool,
}

impl Start {
    pub(super) fn read(arguments: &[u8]) -> Option<Self> {
        let mut fields = Fields(arguments);
        let version = (fields.byte()?, fields.byte()?);
        fields.long()?;
        let mechanisms = fields.long()?;
        fields.long()?;
        let takes_plain = mechanisms.split(|byte| *byte == b' ').any(|mechanism| mechanism == b"PLAIN");
        Some(Self { version, takes_plain })
    }
}

/// What a message says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// How long its body is.
    pub(super) size: u64,
    /// Its `type`.
    pub(super) kind: Option<String>,
    /// Its `message-id`.
    pub(super) id: Option<String>,
}

/// The properties in their order on the wire, and how each is read: the first has the highest bit.
const PROPERTIES: [Property; 14] = [
    Property::Short, // content-type
    Property::Short, // content-encoding
    Property::Table, // headers
    Property::Byte,  // delivery-mode
    Property::Byte,  // priority
    Property::Short, // correlation-id
    Property::Short, // reply-to
    Property::Short, // expiration
    Property::Id,    // message-id
    Property::Time,  // timestamp
    Property::Kind,  // type
    Property::Short, // user-id
    Property::Short, // app-id
    Property::Short, // reserved
];

enum Property {
    Short,
    Table,
    Byte,
    Time,
    Id,
    Kind,
}

impl Header {
    /// None if there is no size. Properties that are broken are taken for absent: whoever published them does not end
    /// our connection by it.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        // Class and weight.
        fields.take(4)?;
        let size = u64::from_be_bytes(*fields.take(8)?.first_chunk()?);
        let (kind, id) = Self::properties(fields).unwrap_or_default();
        Some(Self { size, kind, id })
    }

    fn properties(mut fields: Fields<'_>) -> Option<(Option<String>, Option<String>)> {
        let flags = u16::from_be_bytes(*fields.take(2)?.first_chunk()?);
        let (mut kind, mut id) = (None, None);
        for (place, property) in PROPERTIES.iter().enumerate() {
            if flags & (1 << (15 - place)) == 0 {
                continue;
            }
            match property {
                Property::Short => drop(fields.short()?),
                Property::Table => drop(fields.long()?),
                Property::Byte => drop(fields.byte()?),
                Property::Time => drop(fields.take(8)?),
                Property::Id => id = Some(String::from_utf8(fields.short()?.to_vec()).ok()?),
                Property::Kind => kind = Some(String::from_utf8(fields.short()?.to_vec()).ok()?),
            }
        }
        Some((kind, id))
    }
}

/// What is still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    /// A short string.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    /// A long string, or a table.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(*self.take(4)?.first_chunk()?);
        self.take(length as usize)
    }
}
