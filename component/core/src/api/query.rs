//! Parameters of a query.

use crate::api::percent;
use crate::refusal::{Refusal, quoted};

/// The values of the parameters with these names, where they stand in the query. Others, repeated ones and those without
/// `=` are refused: a parameter that was silently ignored would make the answer another than was asked for.
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
