//! Block rules as a feed's settings have them: a list, or a text split at the commas that stand outside brackets.

use crate::proxy::{BlockRules, Rule};

use super::value::Value;

impl Value {
    /// Block rules; the error names each that is none.
    pub(super) fn rules(&self) -> Result<BlockRules, String> {
        let items: Vec<&str> = match self {
            Self::List(items) => items.iter().map(String::as_str).collect(),
            Self::Text(text) => split(text),
            Self::Integer(_) | Self::Other(_) => return Err(expected("")),
        };
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for item in items {
            match Rule::parse(item) {
                Ok(rule) => rules.push(rule),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        if problems.is_empty() {
            Ok(BlockRules::new(rules))
        } else {
            Err(expected(&format!(" ({})", problems.join("; "))))
        }
    }
}

fn expected(problems: &str) -> String {
    format!(
        "a list of rules such as \"Evil.Package\", \"Contoso.*\", \"Foo@1.2.3\" or \"Bar@[2.0,2.4]\"{problems}"
    )
}

/// The items of a text: a comma inside an interval parts none.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<Vec<String>, String> {
        let rules = value.rules()?;
        Ok(rules.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_list_and_a_text_give_the_same_rules() {
        let items = ["Evil.Package", "Foo@1.2.3", "Bar@[2.0,2.4]", "Baz.*@(,1.0)"];
        let list = Value::List(items.map(str::to_owned).to_vec());
        assert_eq!(read(&list), Ok(items.map(str::to_owned).to_vec()));
        let text = Value::Text("Evil.Package, Foo@1.2.3,Bar@[2.0,2.4] ,Baz.*@(,1.0)".to_owned());
        assert_eq!(read(&text), read(&list));
        assert_eq!(read(&Value::List(Vec::new())), Ok(Vec::new()));
    }

    #[test]
    fn every_rule_that_is_none_is_named() {
        let list = Value::List(["a@[2,1]", "b", "c d", ""].map(str::to_owned).to_vec());
        let error = read(&list).unwrap_err();
        for part in [
            "\"[2,1]\"",
            "\"c d\"",
            "an empty text",
            "such as \"Evil.Package\"",
        ] {
            assert!(error.contains(part), "{error}");
        }
        for value in [Value::Integer(1), Value::Text(String::new())] {
            assert!(read(&value).is_err(), "{value:?}");
        }
    }
}
