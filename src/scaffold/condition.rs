//! The conditions of `when = "…"`: comparisons of variables and literals, combined by `and`, `or`, `not`.
//!
//! ```text
//! or      = and { "or" and }
//! and     = not { "and" not }
//! not     = "not" not | compare
//! compare = value [ ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in") value ]
//! value   = 'text' | "text" | 12 | true | false | [ value, … ] | name { "." name } | "(" or ")"
//! ```

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::values::truthy;

/// A parsed condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Literal(Value),
    List(Vec<Condition>),
    Variable(String),
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Compare(Box<Condition>, Comparison, Box<Condition>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    NotIn,
}

impl Condition {
    /// Parses a condition.
    /// # Errors
    /// What was expected, with the byte offset.
    pub(super) fn parse(text: &str) -> Result<Condition, String> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
        let condition = parser.or()?;
        match parser.peek() {
            None => Ok(condition),
            Some(token) => Err(format!("unexpected `{}`", token.text())),
        }
    }

    /// Whether it is true for `values`.
    /// # Errors
    /// An unknown variable, or a comparison of values that have no order.
    pub(super) fn holds(&self, values: &Map<String, Value>) -> Result<bool, String> {
        Ok(truthy(&self.value(values)?))
    }

    /// The names of all its variables; `user.name` counts as `user`.
    pub(super) fn variables(&self) -> Vec<&str> {
        match self {
            Condition::Literal(_) => Vec::new(),
            Condition::List(items) => items.iter().flat_map(Condition::variables).collect(),
            Condition::Variable(path) => vec![path.split('.').next().unwrap_or(path)],
            Condition::Not(inner) => inner.variables(),
            Condition::And(left, right) | Condition::Or(left, right) | Condition::Compare(left, _, right) => {
                [left.variables(), right.variables()].concat()
            }
        }
    }

    fn value(&self, values: &Map<String, Value>) -> Result<Value, String> {
        Ok(match self {
            Condition::Literal(value) => value.clone(),
            Condition::List(items) => {
                Value::Array(items.iter().map(|item| item.value(values)).collect::<Result<_, _>>()?)
            }
            Condition::Variable(path) => {
                let mut parts = path.split('.');
                let first = parts.next().and_then(|name| values.get(name));
                let found = parts.try_fold(first, |value, part| value.map(|value| value.get(part)));
                found.flatten().cloned().ok_or_else(|| format!("unknown variable `{path}`"))?
            }
            Condition::Not(inner) => Value::Bool(!inner.holds(values)?),
            Condition::And(left, right) => Value::Bool(left.holds(values)? && right.holds(values)?),
            Condition::Or(left, right) => Value::Bool(left.holds(values)? || right.holds(values)?),
            Condition::Compare(left, comparison, right) => {
                Value::Bool(compare(&left.value(values)?, *comparison, &right.value(values)?)?)
            }
        })
    }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> Result<bool, String> {
    let order = || match (left, right) {
        (Value::Number(left), Value::Number(right)) => Ok(left.as_f64().partial_cmp(&right.as_f64())),
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        _ => Err(format!("{left} and {right} cannot be compared")),
    };
    let within = || match right {
        Value::Array(items) => Ok(items.contains(left)),
        _ => Err(format!("{right} is not a list")),
    };
    Ok(match comparison {
        Comparison::Equal => left == right,
        Comparison::Unequal => left != right,
        Comparison::Less => order()? == Some(Ordering::Less),
        Comparison::AtMost => matches!(order()?, Some(Ordering::Less | Ordering::Equal)),
        Comparison::More => order()? == Some(Ordering::Greater),
        Comparison::AtLeast => matches!(order()?, Some(Ordering::Greater | Ordering::Equal)),
        Comparison::In => within()?,
        Comparison::NotIn => !within()?,
    })
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name or a keyword.
    Word(String),
    Value(Value),
    Sign(&'static str),
}

impl Token {
    fn text(&self) -> String {
        match self {
            Token::Word(word) => word.clone(),
            Token::Value(value) => value.to_string(),
            Token::Sign(sign) => (*sign).to_string(),
        }
    }
}

const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let length = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else if first == '\'' || first == '"' {
            let inner = rest[1..].split(first).next().unwrap_or_default();
            if inner.len() + 1 >= rest.len() {
                return Err(format!("the string that starts at byte {at} is not closed"));
            }
            tokens.push(Token::Value(inner.into()));
            inner.len() + 2
        } else if first.is_ascii_digit() || first == '-' {
            let length = 1 + rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1);
            let number: i64 = rest[..length].parse().map_err(|_| format!("invalid number at byte {at}"))?;
            tokens.push(Token::Value(number.into()));
            length
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
                .unwrap_or(rest.len());
            tokens.push(match &rest[..length] {
                "true" => Token::Value(true.into()),
                "false" => Token::Value(false.into()),
                word => Token::Word(word.into()),
            });
            length
        } else {
            return Err(format!("unexpected `{first}` at byte {at}"));
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(next)) if next == word);
        self.next += usize::from(found);
        found
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.next += usize::from(found);
        found
    }

    fn or(&mut self) -> Result<Condition, String> {
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Condition::Or(left.into(), self.and()?.into());
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Condition, String> {
        let mut left = self.not()?;
        while self.take_word("and") {
            left = Condition::And(left.into(), self.not()?.into());
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Condition, String> {
        // Limits the recursion, because a skeleton may come from anyone.
        self.depth += 1;
        if self.depth > 50 {
            return Err("nested more than 50 levels deep".into());
        }
        let condition =
            if self.take_word("not") { Condition::Not(self.not()?.into()) } else { self.compare()? };
        self.depth -= 1;
        Ok(condition)
    }

    fn compare(&mut self) -> Result<Condition, String> {
        let left = self.value()?;
        let comparison = if self.take_sign("==") {
            Comparison::Equal
        } else if self.take_sign("!=") {
            Comparison::Unequal
        } else if self.take_sign("<=") {
            Comparison::AtMost
        } else if self.take_sign(">=") {
            Comparison::AtLeast
        } else if self.take_sign("<") {
            Comparison::Less
        } else if self.take_sign(">") {
            Comparison::More
        } else if self.take_word("in") {
            Comparison::In
        } else if self.take_word("not") {
            if !self.take_word("in") {
                return Err("expected `in` after `not`".into());
            }
            Comparison::NotIn
        } else {
            return Ok(left);
        };
        Ok(Condition::Compare(left.into(), comparison, self.value()?.into()))
    }

    fn value(&mut self) -> Result<Condition, String> {
        if self.take_sign("(") {
            let inner = self.or()?;
            return if self.take_sign(")") { Ok(inner) } else { Err("expected `)`".into()) };
        }
        if self.take_sign("[") {
            let mut items = Vec::new();
            while !self.take_sign("]") {
                if !items.is_empty() && !self.take_sign(",") {
                    return Err("expected `,` or `]`".into());
                }
                items.push(self.value_nested()?);
            }
            return Ok(Condition::List(items));
        }
        match self.peek().cloned() {
            Some(Token::Word(word)) if !matches!(word.as_str(), "and" | "or" | "not" | "in") => {
                self.next += 1;
                Ok(Condition::Variable(word))
            }
            Some(Token::Value(value)) => {
                self.next += 1;
                Ok(Condition::Literal(value))
            }
            Some(token) => Err(format!("expected a value, found `{}`", token.text())),
            None => Err("expected a value at the end".into()),
        }
    }

    fn value_nested(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("nested more than 50 levels deep".into());
        }
        let value = self.value()?;
        self.depth -= 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str) -> Result<bool, String> {
        let values = json!({"db": "sqlite", "port": 8080, "tls": true, "parts": ["a", "b"], "empty": "", "user": {"name": "Ada"}});
        Condition::parse(text)?.holds(values.as_object().expect("it is an object"))
    }

    #[test]
    fn conditions_hold_or_not() {
        for text in [
            "db != 'none'",
            "db == \"sqlite\" and tls",
            "not (db == 'none' or not tls)",
            "port >= 1024 and port < 9000",
            "db in ['sqlite', 'postgres']",
            "'c' not in parts",
            "user.name == 'Ada'",
            "not empty",
            "true or missing",
            "-1 < 0",
        ] {
            assert_eq!(check(text), Ok(true), "{text}");
        }
        for text in ["db == 'none'", "empty", "tls and false", "port > 8080", "'a' in []"] {
            assert_eq!(check(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, fault) in [
            ("", "expected a value at the end"),
            ("db ==", "expected a value at the end"),
            ("db = 'x'", "unexpected `=` at byte 3"),
            ("db == 'x", "the string that starts at byte 6 is not closed"),
            ("db tls", "unexpected `tls`"),
            ("(db", "expected `)`"),
            ("and", "expected a value, found `and`"),
            ("nope == 1", "unknown variable `nope`"),
            ("db < 1", "\"sqlite\" and 1 cannot be compared"),
            ("db in 'sqlite'", "\"sqlite\" is not a list"),
            ("db not tls", "expected `in` after `not`"),
        ] {
            assert_eq!(check(text), Err(fault.to_string()), "{text}");
        }
        assert_eq!(check(&"(".repeat(9999)), Err("nested more than 50 levels deep".into()));
        assert_eq!(check(&"[".repeat(9999)), Err("nested more than 50 levels deep".into()));
    }
}
