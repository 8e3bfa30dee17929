//! Parameters of a query.

use crate::api::percent;
use crate::refusal::{Refusal, quoted};

/// The values of the parameters with these names, where they stand in the query. Others, repeated ones and those
/// without `=` are refused: a parameter that was silently ignored would make the answer another than was asked for.
pub fn parameters<const N: usize>(query: &str, known: [&str; N]) -> Result<[Option<String>; N], Refusal> {
    let mut values = [const { None }; N];
    if query.is_empty() {
        return Ok(values);
    }
    for part in query.split('&') {
        let Some((name, value)) = part.split_once('=') else {
            return Err(Refusal::BadRequest(format!("the parameter {} has no value; write name=value", quoted(part))));
        };
        let decode = |text| {
            percent::decode_query(text)
                .map_err(|fault| Refusal::BadRequest(format!("the parameter {} {fault}", quoted(part))))
        };
        let name = decode(name)?;
        let Some(at) = known.iter().position(|known| *known == name) else {
            let takes = if N == 0 { "no parameter".to_owned() } else { known.join(", ") };
            return Err(Refusal::BadRequest(format!(
                "there is no parameter {} here; this request takes {takes}",
                quoted(&name)
            )));
        };
        if values[at].replace(decode(value)?).is_some() {
            return Err(Refusal::BadRequest(format!("the parameter {name} stands twice")));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> String {
        match parameters(query, ["prefix", "limit"]) {
            Err(Refusal::BadRequest(message)) => message,
            other => panic!("{query:?} gives {other:?}"),
        }
    }

    #[test]
    fn values_are_decoded_and_stand_under_their_names() {
        for (query, values) in [
            ("", [None, None]),
            ("limit=7", [None, Some("7")]),
            ("limit=7&prefix=a%26b%3D%2B+", [Some("a&b=+ "), Some("7")]),
            ("prefix=", [Some(""), None]),
            ("prefix=a=b", [Some("a=b"), None]),
            ("%70refix=x", [Some("x"), None]),
        ] {
            assert_eq!(
                parameters(query, ["prefix", "limit"]),
                Ok(values.map(|value| value.map(str::to_owned))),
                "{query}"
            );
        }
    }

    #[test]
    fn unknown_repeated_and_malformed_parameters_are_refused() {
        for query in
            ["x=1", "Prefix=a", "=1", "prefix", "&", "prefix=a&", "&prefix=a", "prefix=a&&limit=1", "?prefix=a"]
        {
            refused(query);
        }
        assert!(refused("prefix=a&prefix=a").contains("prefix stands twice"));
        assert!(refused("limit=1&limit=2").contains("limit stands twice"));
        assert!(refused("prefix=%f").contains("%25"));
        assert!(refused("prefix=%ff").contains("UTF-8"));
        assert!(refused("%ff=1").contains("UTF-8"));
        assert!(refused("colour=red").contains("prefix, limit"));
    }

    #[test]
    fn where_no_parameter_is_known_all_are_refused() {
        assert_eq!(parameters("", []), Ok([]));
        assert!(matches!(parameters("a=1", []), Err(Refusal::BadRequest(message)) if message.contains("no parameter")));
    }

    #[test]
    fn messages_stay_short() {
        let long = "x".repeat(1 << 20);
        for query in [long.clone(), format!("{long}=1"), format!("prefix=%{long}")] {
            assert!(refused(&query).len() < 300);
        }
    }
}
