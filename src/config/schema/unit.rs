//! Numbers with a unit, as strings: `drain_secs = "5m"`, and `drain = "5m"` without the unit in the name.
//!
//! The suffix of an option's name is the unit of a plain number. humantime reads durations. A size is a number and one
//! of nine units, which needs no library.

use serde_json::{Map, Value};

use super::walk::{accepted, follow};

/// A unit that ends the names of options.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The end of the name: `_secs`.
    ending: &'static str,
    /// How many milliseconds or bytes it is.
    scale: u64,
    measure: Measure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Duration,
    Size,
}

static UNITS: [Unit; 4] = [
    Unit { ending: "_secs", scale: 1000, measure: Measure::Duration },
    Unit { ending: "_millis", scale: 1, measure: Measure::Duration },
    Unit { ending: "_bytes", scale: 1, measure: Measure::Size },
    Unit { ending: "_mib", scale: 1 << 20, measure: Measure::Size },
];

const SIZES: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl Unit {
    /// The unit in the name of an option.
    pub(super) fn of(name: &str) -> Option<&'static Unit> {
        UNITS.iter().find(|unit| name.len() > unit.ending.len() && name.ends_with(unit.ending))
    }

    /// The option among `known` that `name` is without its unit.
    pub(super) fn named<'k>(name: &str, known: &[&'k str]) -> Option<(&'static Unit, &'k str)> {
        let mut units = known.iter().filter_map(|known| Some((Unit::of(known)?, *known)));
        units.find(|(unit, known)| known.strip_suffix(unit.ending) == Some(name))
    }

    /// A value with a unit, as an example.
    pub(super) fn example(&self) -> &'static str {
        match self.measure {
            Measure::Duration => "30s",
            Measure::Size => "10 MiB",
        }
    }

    /// What a string with a unit means, as a number of this unit.
    /// # Errors
    /// The error explains what is wrong with it, or what it should look like.
    pub(super) fn read(&self, text: &str) -> Result<u64, String> {
        let text = text.trim();
        let form = || match self.measure {
            Measure::Duration => "write a number, or a duration with a unit: `\"30s\"`, `\"1h 30m\"`",
            Measure::Size => "write a number, or a size with a unit: `\"64 KiB\"`, `\"10 MB\"`",
        };
        let small = match self.measure {
            // humantime takes a lone `0`.
            Measure::Duration if text.ends_with(char::is_alphabetic) => {
                let duration = humantime::parse_duration(text).map_err(|_| form().to_owned())?;
                (duration.subsec_nanos() % 1_000_000 == 0).then_some(duration.as_millis())
            }
            Measure::Duration => return Err(form().to_owned()),
            Measure::Size => Some(size(text).ok_or_else(form)?.into()),
        };
        let scale = u128::from(self.scale);
        let whole = small.filter(|small| small % scale == 0).map(|small| small / scale);
        whole
            .and_then(|whole| u64::try_from(whole).ok())
            .filter(|whole| i64::try_from(*whole).is_ok())
            .ok_or_else(|| format!("`{text}` is not a whole number of {}", self.plural()))
    }

    fn plural(&self) -> &'static str {
        match self.ending {
            "_secs" => "seconds",
            "_millis" => "milliseconds",
            "_mib" => "MiB",
            _ => "bytes",
        }
    }

    /// What a string with the unit is called.
    pub(super) fn noun(&self) -> &'static str {
        match self.measure {
            Measure::Duration => "a duration",
            Measure::Size => "a size",
        }
    }

    /// A pattern of such strings, for editors.
    fn pattern(&self) -> &'static str {
        match self.measure {
            Measure::Duration => r"^\s*([0-9]+\s*[A-Za-zµ]+\s*)+$",
            Measure::Size => r"^\s*[0-9]+(\.[0-9]+)?\s*([KMGTkmgt][Ii]?)?[Bb]\s*$",
        }
    }
}

/// `1.5 GiB` in bytes.
fn size(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..at], text[at..].trim().to_ascii_lowercase());
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*scale);
    }
    let bytes = number.parse::<f64>().ok()? * *scale as f64;
    // Beyond this, a float has no whole numbers left.
    (bytes.fract() == 0.0 && bytes < 9e15).then_some(bytes as u64)
}

/// The name of the option `key` without its unit, if no other option could be meant by it.
pub(super) fn short_name<'k>(root: &Value, properties: &Map<String, Value>, key: &'k str) -> Option<&'k str> {
    let short = |key: &'k str| Some(key.strip_suffix(Unit::of(key)?.ending).unwrap_or(key));
    let own = short(key)?;
    let takes_number = is_number(follow(root, properties.get(key)?)?);
    let rival = |other: &String| {
        other == own
            || other != key
                && Unit::of(other).is_some_and(|unit| other.strip_suffix(unit.ending) == Some(own))
    };
    (takes_number && !properties.keys().any(rival)).then_some(own)
}

/// Whether a schema takes numbers, and no strings.
pub(super) fn is_number(schema: &Value) -> bool {
    let types = accepted(schema);
    types.iter().any(|kind| ["integer", "number"].contains(kind)) && !types.contains(&"string")
}

/// Also allows strings with units, and names without them, in a schema for editors and everything below it.
pub fn allow_units(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let plain = properties.clone();
        for (key, property) in properties.iter_mut() {
            if let Some(unit) = Unit::of(key) {
                allow_string(property, unit);
            }
        }
        for key in plain.keys() {
            let Some((unit, short)) = Unit::of(key).zip(short_name_in_editor(&plain, key)) else { continue };
            let about = format!("`{key}`, as {} with its unit.", unit.noun());
            let property =
                serde_json::json!({ "type": "string", "pattern": unit.pattern(), "description": about });
            properties.insert(short.to_owned(), property);
        }
    }
    match schema {
        Value::Object(table) => table.values_mut().for_each(allow_units),
        Value::Array(list) => list.iter_mut().for_each(allow_units),
        _ => {}
    }
}

/// The same as [`short_name`], for a schema in which numbers may also be strings with `${…}`.
fn short_name_in_editor<'k>(properties: &Map<String, Value>, key: &'k str) -> Option<&'k str> {
    let numbers = properties.iter().map(|(key, property)| {
        let number = branches(property).any(is_number).then(|| serde_json::json!({ "type": "integer" }));
        (key.clone(), number.unwrap_or(Value::Null))
    });
    short_name(&Value::Null, &numbers.collect(), key)
}

/// The alternatives of a schema, or itself.
fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    let inner = schema.get("anyOf").and_then(Value::as_array);
    inner.into_iter().flatten().chain(inner.is_none().then_some(schema))
}

fn allow_string(property: &mut Value, unit: &Unit) {
    if !branches(property).any(is_number) {
        return;
    }
    let string = serde_json::json!({ "type": "string", "pattern": unit.pattern() });
    if let Some(branches) = property.get_mut("anyOf").and_then(Value::as_array_mut) {
        branches.push(string);
        return;
    }
    let mut outer = Map::new();
    if let Some(table) = property.as_object_mut() {
        for key in ["description", "default", "deprecated", "x-renamed-from"] {
            outer.extend(table.remove(key).map(|value| (key.to_owned(), value)));
        }
    }
    outer.insert("anyOf".into(), serde_json::json!([property.take(), string]));
    *property = outer.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes() {
        let read = |name: &str, text: &str| Unit::of(name).unwrap().read(text);
        assert_eq!(read("drain_secs", "5m"), Ok(300));
        assert_eq!(read("drain_secs", " 1h 30m "), Ok(5400));
        assert_eq!(read("drain_secs", "2000ms"), Ok(2));
        assert_eq!(read("slow_millis", "1s"), Ok(1000));
        assert_eq!(read("max_bytes", "10 MiB"), Ok(10 << 20));
        assert_eq!(read("max_bytes", "1.5kB"), Ok(1500));
        assert_eq!(read("max_growth_mib", "2 GiB"), Ok(2048));
        assert_eq!(read("drain_secs", "1500ms"), Err("`1500ms` is not a whole number of seconds".to_owned()));
        assert_eq!(read("max_growth_mib", "1 MB"), Err("`1 MB` is not a whole number of MiB".to_owned()));
        for (name, text) in [
            ("drain_secs", "0"),
            ("drain_secs", "5"),
            ("drain_secs", "5x"),
            ("drain_secs", "-5s"),
            ("max_bytes", "10"),
            ("max_bytes", "10M"),
            ("max_bytes", "MiB"),
            ("max_bytes", "1.2.3 MiB"),
            ("max_bytes", "99999999 TiB"),
        ] {
            assert!(read(name, text).is_err(), "{name} = {text}");
        }
        assert!(Unit::of("_secs").is_none() && Unit::of("threads").is_none());
    }

    #[test]
    fn short_names_are_not_ambiguous() {
        let number = serde_json::json!({ "type": "integer" });
        let properties = ["drain_secs", "queue", "queue_secs", "pace_secs", "pace_bytes"];
        let properties: Map<_, _> =
            properties.iter().map(|name| ((*name).to_owned(), number.clone())).collect();
        let short = |key: &'static str| short_name(&Value::Null, &properties, key);
        assert_eq!(short("drain_secs"), Some("drain"));
        assert_eq!([short("queue"), short("queue_secs"), short("pace_secs"), short("pace_bytes")], [None; 4]);
    }
}
