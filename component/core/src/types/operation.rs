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
        ("set", DataType::LwwRegister | DataType::MvRegister) => Ok(Operation::Set(canonical(&argument))),
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
    Ok(each_once(values.iter().map(canonical).collect()))
}

/// A value in canonical form. (`Value::to_string` makes the same text, through a formatter, in four times the time.)
fn canonical(value: &Value) -> String {
    serde_json::to_string(value).expect("all members of a value's objects have names that are texts")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(data_type: DataType, operation: &str) -> Result<Operation, Refusal> {
        let Value::Object(members) = serde_json::from_str(operation).expect("the test gives JSON") else {
            panic!("the test gives an object");
        };
        Operation::parse(data_type, members, false)
    }

    fn code(result: Result<Operation, Refusal>) -> &'static str {
        result.map_or_else(|refusal| refusal.status_and_code().1, |_| "ok")
    }

    /// An operation of each name, with an argument that some type takes.
    const OPERATIONS: [(&str, &str); 9] = [
        ("increment", "1"),
        ("decrement", "1"),
        ("add", "[1]"),
        ("remove", r#"["x"]"#),
        ("set", "1"),
        ("enable", "true"),
        ("disable", "true"),
        ("update", "{}"),
        ("delete", "true"),
    ];

    fn has(data_type: DataType) -> &'static [&'static str] {
        match data_type {
            DataType::GCounter => &["increment"],
            DataType::PnCounter => &["increment", "decrement"],
            DataType::GSet => &["add"],
            DataType::OrSet | DataType::RwSet => &["add", "remove"],
            DataType::LwwRegister | DataType::MvRegister | DataType::MaxRegister | DataType::MinRegister => &["set"],
            DataType::EwFlag | DataType::DwFlag => &["enable", "disable"],
            DataType::Map => &["update", "remove"],
        }
    }

    #[test]
    fn each_type_has_its_operations_and_no_others() {
        for data_type in DataType::ALL {
            for (name, argument) in OPERATIONS {
                let expected = match name {
                    // Known only in a batch.
                    "delete" => "bad_request",
                    _ if has(data_type).contains(&name) => "ok",
                    _ => "wrong_operation",
                };
                let operation = format!(r#"{{"{name}":{argument}}}"#);
                assert_eq!(code(parse(data_type, &operation)), expected, "{data_type:?} {name}");
            }
            assert_eq!(code(parse(data_type, "{}")), "bad_request", "{data_type:?}");
            assert_eq!(code(parse(data_type, r#"{"Increment":1}"#)), "bad_request", "{data_type:?}");
            let two = r#"{"increment":1,"set":1}"#;
            assert_eq!(code(parse(data_type, two)), "bad_request", "{data_type:?}");
        }
    }

    #[test]
    fn each_argument_is_of_its_kind() {
        for (data_type, name, arguments) in [
            (
                DataType::GCounter,
                "increment",
                &["-1", "1.0", "1e2", "18446744073709551616", r#""1""#, "null", "[]"][..],
            ),
            (DataType::PnCounter, "increment", &["-1", "0.5", "true"]),
            (DataType::PnCounter, "decrement", &["-1", "0.5", "18446744073709551616"]),
            (DataType::GSet, "add", &[r#""x""#, "1", "{}", "null"]),
            (DataType::OrSet, "remove", &[r#""x""#, "{}"]),
            (DataType::RwSet, "remove", &[r#""x""#, "{}"]),
            (DataType::MaxRegister, "set", &[r#""7""#, "null", "[7]", "true"]),
            (DataType::MinRegister, "set", &[r#""7""#, "null", "[7]", "true"]),
            (DataType::EwFlag, "enable", &["false", "1", "null", r#""true""#]),
            (DataType::DwFlag, "disable", &["false", "1", "null"]),
            (DataType::Map, "update", &["[]", "null", r#""f""#, r#"{"f":1}"#, r#"{"":{"type":"gset","add":[]}}"#]),
            (DataType::Map, "remove", &[r#""f""#, "{}", "[1]", r#"[""]"#, r#"["f",null]"#]),
        ] {
            for argument in arguments {
                let operation = format!(r#"{{"{name}":{argument}}}"#);
                assert_eq!(code(parse(data_type, &operation)), "bad_value", "{data_type:?} {operation}");
            }
        }
    }

    #[test]
    fn amounts_reach_from_zero_to_the_greatest_of_64_bits() {
        for amount in [0, 1, u64::MAX] {
            assert_eq!(
                parse(DataType::PnCounter, &format!(r#"{{"decrement":{amount}}}"#)),
                Ok(Operation::Decrement(amount))
            );
        }
    }

    #[test]
    fn values_are_canonical_and_elements_stand_once_and_in_order() {
        assert_eq!(
            parse(DataType::OrSet, r#"{"add":["b", {"y": 1, "x": [ ]}, "a", "b"]}"#),
            Ok(Operation::Add(vec![r#""a""#.into(), r#""b""#.into(), r#"{"x":[],"y":1}"#.into()]))
        );
        assert_eq!(parse(DataType::MvRegister, r#"{"set": [1, 1.0, -0] }"#), Ok(Operation::Set("[1,1.0,-0.0]".into())));
        assert_eq!(
            parse(DataType::Map, r#"{"remove":["g","f","g"]}"#),
            Ok(Operation::RemoveFields(vec!["f".into(), "g".into()]))
        );
    }

    #[test]
    fn fields_have_a_type_and_exactly_one_operation() {
        for (field, expected) in [
            (r#"{"type":"gcounter","increment":1}"#, "ok"),
            (r#"{"type":"map","update":{"g":{"type":"dwflag","enable":true}}}"#, "ok"),
            (r#"{"type":"map","remove":["g"]}"#, "ok"),
            (r#"{"increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter"}"#, "bad_request"),
            (r#"{"type":1,"increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter","increment":1,"key":"x"}"#, "bad_request"),
            (r#"{"type":"gcounter","delete":true}"#, "bad_request"),
            (r#"{"type":"counter","increment":1}"#, "unknown_type"),
            (r#"{"type":"gcounter","decrement":1}"#, "wrong_operation"),
            (r#"{"type":"gcounter","increment":-1}"#, "bad_value"),
            (r#"{"type":"map","update":{"g":{"type":"gset","set":1}}}"#, "wrong_operation"),
        ] {
            let operation = format!(r#"{{"update":{{"f":{field}}}}}"#);
            assert_eq!(code(parse(DataType::Map, &operation)), expected, "{field}");
        }
    }

    #[test]
    fn names_of_fields_take_1_to_1024_bytes() {
        for (name, expected) in [
            ("f".repeat(NAME_MAX_BYTES), "ok"),
            ("f".repeat(NAME_MAX_BYTES + 1), "bad_value"),
            ("é".repeat(NAME_MAX_BYTES / 2), "ok"),
            ("é".repeat(NAME_MAX_BYTES / 2 + 1), "bad_value"),
        ] {
            let update = format!(r#"{{"update":{{"{name}":{{"type":"gset","add":[]}}}}}}"#);
            assert_eq!(code(parse(DataType::Map, &update)), expected, "{} bytes", name.len());
            let remove = format!(r#"{{"remove":["{name}"]}}"#);
            assert_eq!(code(parse(DataType::Map, &remove)), expected, "{} bytes", name.len());
        }
    }

    #[test]
    fn a_payload_takes_at_most_64_kib_in_canonical_form() {
        // Two bytes are the quotes.
        let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        let half = PAYLOAD_MAX_BYTES / 2;
        for (data_type, operation, expected) in [
            (DataType::LwwRegister, format!(r#"{{"set": {} }}"#, text(PAYLOAD_MAX_BYTES)), "ok"),
            (DataType::LwwRegister, format!(r#"{{"set":{}}}"#, text(PAYLOAD_MAX_BYTES + 1)), "payload_too_large"),
            // 65,536 escapes of six bytes each stand for one byte each.
            (DataType::MvRegister, format!(r#"{{"set":"{}"}}"#, r"\u0078".repeat(PAYLOAD_MAX_BYTES - 2)), "ok"),
            (DataType::OrSet, format!(r#"{{"add":[{},{}]}}"#, text(half), text(half - 1)), "ok"),
            (DataType::OrSet, format!(r#"{{"add":[{0},{0},{0}]}}"#, text(half)), "ok"),
            (DataType::OrSet, format!(r#"{{"add":[{},{}]}}"#, text(half), text(half + 1)), "payload_too_large"),
            (DataType::RwSet, format!(r#"{{"remove":[{}]}}"#, text(PAYLOAD_MAX_BYTES + 1)), "payload_too_large"),
            (
                DataType::Map,
                format!(
                    r#"{{"update":{{"f":{{"type":"gset","add":[{}]}},"g":{{"type":"lwwregister","set":{}}}}}}}"#,
                    text(half),
                    text(half + 1)
                ),
                "payload_too_large",
            ),
        ] {
            let shown = &operation[..40];
            assert_eq!(code(parse(data_type, &operation)), expected, "{data_type:?} {shown}");
        }
    }

    #[test]
    fn delete_belongs_where_it_is_allowed_and_takes_true() {
        for (argument, expected) in [("true", "ok"), ("false", "bad_value"), ("null", "bad_value"), ("1", "bad_value")]
        {
            for data_type in DataType::ALL {
                let members = [("delete".to_owned(), serde_json::from_str(argument).unwrap())];
                assert_eq!(code(Operation::parse(data_type, members, true)), expected, "{data_type:?} {argument}");
            }
        }
    }

    #[test]
    fn types_are_known_by_their_exact_names() {
        for data_type in DataType::ALL {
            assert_eq!(type_of_name(data_type.name()), Ok(data_type));
        }
        for name in ["", "GCounter", "gcounter ", "counter"] {
            assert!(matches!(type_of_name(name), Err(Refusal::UnknownType(_))), "{name:?}");
        }
    }

    #[test]
    fn a_message_repeats_no_more_than_the_beginning_of_a_long_text() {
        let long = "x".repeat(1 << 20);
        let messages = [
            parse(DataType::GSet, &format!(r#"{{"{long}":1}}"#)).unwrap_err().message(),
            type_of_name(&long).unwrap_err().message(),
        ];
        for message in messages {
            assert!(message.len() < 500, "{} bytes", message.len());
        }
    }
}
