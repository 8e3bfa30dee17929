//! Operations, parsed from JSON and checked against the type that they are for.

use serde_json::Value;

use crate::cell::{DataType, NAME_MAX_BYTES};
use crate::refusal::{Refusal, quoted};

/// The most bytes that one operation's values take, in canonical form, together.
pub const PAYLOAD_MAX_BYTES: usize = 64 * 1024;

/// An operation that its type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Counters.
    Increment(u64),
    /// `pncounter`.
    Decrement(u64),
    /// Sets: elements as canonical JSON, each once.
    Add(Vec<String>),
    /// `orset`, `rwset`: elements as canonical JSON, each once.
    Remove(Vec<String>),
    /// Registers: the value as canonical JSON; for a max- or minregister a number.
    Set(String),
    /// Flags: enable or disable.
    Flag(bool),
    /// Maps: fields with their types and operations.
    Update(Vec<(String, DataType, Operation)>),
    /// Maps: fields to drop.
    RemoveFields(Vec<String>),
    /// Any key, as a whole.
    Delete,
}

impl Operation {
    /// Parses what stands beside `type` and `key` in a request: exactly one member. `Delete` is accepted only where
    /// `may_delete`.
    pub fn parse(
        data_type: DataType,
        members: impl IntoIterator<Item = (String, Value)>,
        may_delete: bool,
    ) -> Result<Self, Refusal> {
        let operation = parse_one(data_type, members, may_delete)?;
        if operation.payload_bytes() > PAYLOAD_MAX_BYTES {
            return Err(Refusal::PayloadTooLarge);
        }
        Ok(operation)
    }

    /// The bytes of its values in canonical form.
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Increment(_) | Self::Decrement(_) | Self::Flag(_) | Self::Delete => 0,
            Self::Add(values) | Self::Remove(values) | Self::RemoveFields(values) => {
                values.iter().map(String::len).sum()
            }
            Self::Set(value) => value.len(),
            Self::Update(fields) => fields.iter().map(|(_, _, operation)| operation.payload_bytes()).sum(),
        }
    }
}

fn parse_one(
    data_type: DataType,
    members: impl IntoIterator<Item = (String, Value)>,
    may_delete: bool,
) -> Result<Operation, Refusal> {
    let mut members = members.into_iter();
    let (Some((name, argument)), None) = (members.next(), members.next()) else {
        let example = example(data_type);
        return Err(Refusal::BadRequest(format!("exactly one operation is needed, such as {example}")));
    };
    match (name.as_str(), data_type) {
        ("delete", _) if may_delete => must_be_true(&argument, &name).map(|()| Operation::Delete),
        ("increment", DataType::GCounter | DataType::PnCounter) => amount(&argument, &name).map(Operation::Increment),
        ("decrement", DataType::PnCounter) => amount(&argument, &name).map(Operation::Decrement),
        ("add", DataType::GSet | DataType::OrSet | DataType::RwSet) => elements(argument, &name).map(Operation::Add),
        ("remove", DataType::OrSet | DataType::RwSet) => elements(argument, &name).map(Operation::Remove),
        ("set", DataType::LwwRegister | DataType::MvRegister) => Ok(Operation::Set(argument.to_string())),
        ("set", DataType::MaxRegister | DataType::MinRegister) => match argument {
            Value::Number(number) => Ok(Operation::Set(number.to_string())),
            _ => Err(Refusal::BadValue(format!("set of a {} takes a number", data_type.name()))),
        },
        ("enable", DataType::EwFlag | DataType::DwFlag) => {
            must_be_true(&argument, &name).map(|()| Operation::Flag(true))
        }
        ("disable", DataType::EwFlag | DataType::DwFlag) => {
            must_be_true(&argument, &name).map(|()| Operation::Flag(false))
        }
        ("update", DataType::Map) => fields(argument).map(Operation::Update),
        ("remove", DataType::Map) => field_names(argument).map(Operation::RemoveFields),
        ("increment" | "decrement" | "add" | "remove" | "set" | "enable" | "disable" | "update", _) => {
            let (type_name, example) = (data_type.name(), example(data_type));
            Err(Refusal::WrongOperation(format!("a {type_name} has no operation {name}; it takes {example}")))
        }
        _ => Err(Refusal::BadRequest(format!(
            "{} is no operation; a {} takes {}",
            quoted(&name),
            data_type.name(),
            example(data_type)
        ))),
    }
}

fn example(data_type: DataType) -> &'static str {
    match data_type {
        DataType::GCounter => r#"{"increment": 1}"#,
        DataType::PnCounter => r#"{"increment": 1} or {"decrement": 1}"#,
        DataType::GSet => r#"{"add": ["x"]}"#,
        DataType::OrSet | DataType::RwSet => r#"{"add": ["x"]} or {"remove": ["x"]}"#,
        DataType::LwwRegister | DataType::MvRegister => r#"{"set": "any JSON value"}"#,
        DataType::EwFlag | DataType::DwFlag => r#"{"enable": true} or {"disable": true}"#,
        DataType::MaxRegister | DataType::MinRegister => r#"{"set": 7}"#,
        DataType::Map => r#"{"update": {"field": {"type": "gcounter", "increment": 1}}} or {"remove": ["field"]}"#,
    }
}

fn must_be_true(argument: &Value, name: &str) -> Result<(), Refusal> {
    match argument {
        Value::Bool(true) => Ok(()),
        _ => Err(Refusal::BadValue(format!("{name} takes true and nothing else"))),
    }
}

fn amount(argument: &Value, name: &str) -> Result<u64, Refusal> {
    argument.as_u64().ok_or_else(|| Refusal::BadValue(format!("{name} takes an integer from 0 to {}", u64::MAX)))
}

fn elements(argument: Value, name: &str) -> Result<Vec<String>, Refusal> {
    let Value::Array(values) = argument else {
        return Err(Refusal::BadValue(format!("{name} takes an array of elements")));
    };
    Ok(each_once(values.iter().map(Value::to_string).collect()))
}

/// Sorted, without repetitions: the order in which elements are written must not depend on how they were sent.
fn each_once(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn field_name(name: &str) -> Result<(), Refusal> {
    if (1..=NAME_MAX_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(Refusal::BadValue(format!("a field's name takes 1 to {NAME_MAX_BYTES} bytes, not {}", name.len())))
}

fn field_names(argument: Value) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::BadValue("remove of a map takes an array of field names".into());
    let Value::Array(values) = argument else { return Err(wrong()) };
    let names = values.into_iter().map(|value| match value {
        Value::String(name) => field_name(&name).map(|()| name),
        _ => Err(wrong()),
    });
    Ok(each_once(names.collect::<Result<_, _>>()?))
}

fn fields(argument: Value) -> Result<Vec<(String, DataType, Operation)>, Refusal> {
    let Value::Object(fields) = argument else {
        return Err(Refusal::BadValue("update takes an object of fields".into()));
    };
    let parse = |(name, field): (String, Value)| {
        field_name(&name)?;
        let Value::Object(mut members) = field else {
            let name = quoted(&name);
            return Err(Refusal::BadValue(format!("the field {name} takes an object with a type and an operation")));
        };
        let data_type = take_type(&mut members)?;
        Ok((name, data_type, parse_one(data_type, members, false)?))
    };
    fields.into_iter().map(parse).collect()
}

/// Takes the member `type` out of an object.
pub fn take_type(members: &mut serde_json::Map<String, Value>) -> Result<DataType, Refusal> {
    match members.remove("type") {
        Some(Value::String(name)) => type_of_name(&name),
        Some(_) => Err(Refusal::BadRequest("type must be a text".into())),
        None => Err(Refusal::BadRequest("the member type is missing".into())),
    }
}

/// The type of a name in a request.
pub fn type_of_name(name: &str) -> Result<DataType, Refusal> {
    DataType::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = DataType::ALL.into_iter().map(DataType::name).collect();
        Refusal::UnknownType(format!("{} is no type; the types are {}", quoted(name), known.join(", ")))
    })
}
