//! One source of a config as figment merges it, with the place of each of its values.

use figment::value::{Dict, Map, Value as FigmentValue};
use figment::{Metadata, Profile, Provider};

use super::node::{Data, Node};
use super::sections::profile_keys;
use crate::error::Source;

/// A file, a variable `PASTER_…`, a `-D` or another argument, and what it sets.
pub(super) struct SourceValues {
    source: Source,
    /// The values with their places. Those of profiles are in the table `profile`.
    tree: Node,
    /// How many tables around its value the key of a variable or of a `-D` only names. These tables have the
    /// source as their place only if no other source has them.
    pub(super) named_tables: usize,
}

impl SourceValues {
    /// A file, or an argument that stands for one: the profile is stronger.
    pub(super) fn new(source: Source, tree: Node) -> SourceValues {
        SourceValues { source, tree, named_tables: 0 }
    }

    /// A variable or a `-D`, which is stronger than the profile and sets one value, `depth` keys deep.
    pub(super) fn single(source: Source, tree: Node, depth: usize) -> SourceValues {
        SourceValues { source, tree, named_tables: depth }
    }

    /// What it sets in one of figment's profiles.
    pub(super) fn part(&self, stage: MergeStage<'_>) -> Option<&Node> {
        match stage {
            MergeStage::Files => (self.named_tables == 0).then_some(&self.tree),
            MergeStage::Profile(name) => {
                self.tree.get("profile")?.get(name).filter(|profile| profile.table().is_some())
            }
            MergeStage::Single => (self.named_tables > 0).then_some(&self.tree),
        }
    }
}

/// The steps in which figment merges, weakest first: its default profile, the selected one, and its global one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MergeStage<'a> {
    /// Files, and arguments that stand for one.
    Files,
    /// The profile of this name, in files.
    Profile(&'a str),
    /// Variables and `-D`.
    Single,
}

impl Provider for SourceValues {
    fn metadata(&self) -> Metadata {
        match &self.source {
            Source::File(path) => Metadata::from("config file", path.as_path()),
            Source::Environment(name) => Metadata::from("environment variable", name.as_str()),
            Source::Argument(text) => Metadata::from("command-line argument", text.as_str()),
            Source::Default => Metadata::named("default"),
        }
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        if self.named_tables > 0 {
            return Ok(Profile::Global.collect(dict(&self.tree)));
        }
        let profiles = self.tree.get("profile").and_then(Node::table).into_iter().flatten();
        let mut data: Map<Profile, Dict> = profiles
            .filter(|(_, profile)| profile.table().is_some())
            .map(|(name, profile)| {
                let mut dict = dict(profile);
                // `shape` reports other keys.
                dict.retain(|key, _| profile_keys().any(|known| known == key));
                (profile_named(name), dict)
            })
            .collect();
        data.insert(Profile::Default, dict(&self.tree));
        Ok(data)
    }
}

/// figment ignores the case of a profile's name, and merges `default` and `global` always. For paster a name
/// is only a name, so figment gets it in hexadecimal.
pub(super) fn profile_named(name: &str) -> Profile {
    Profile::new(&name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn dict(table: &Node) -> Dict {
    table.table().into_iter().flatten().map(|(key, node)| (key.clone(), value(node))).collect()
}

fn value(node: &Node) -> FigmentValue {
    match &node.data {
        Data::Table(_) => dict(node).into(),
        Data::List(list) => list.iter().map(value).collect::<Vec<_>>().into(),
        Data::Value(plain) => FigmentValue::serialize(plain).expect("figment has every kind of JSON value"),
    }
}
