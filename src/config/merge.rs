//! Merges the sources with figment, and finds the places of the merged values.

use std::collections::BTreeMap;

use figment::value::{Tag, Value as FigmentValue};
use figment::{Figment, Profile};
use indexmap::IndexSet;
use serde_json::Value;

use super::node::{Data, Node, Occurrence};
use super::provider::{MergeStage, SourceValues, profile_named};

/// What one source sets for one value in one stage.
#[derive(Clone, Copy)]
struct SourcePart<'s> {
    stage: MergeStage<'s>,
    /// The source's position among all.
    source: usize,
    node: &'s Node,
}

/// Merges `sources`, weakest first. Keys are in the order in which the sources first set them.
pub(super) fn merge(sources: &[SourceValues], profile: Option<&str>) -> Node {
    let mut figment = sources.iter().fold(Figment::new(), Figment::merge);
    if let Some(name) = profile {
        figment = figment.select(profile_named(name));
    }
    let merged =
        figment.find_value("").expect("the providers have no errors, and the empty path is the root");
    let mut places = Places { figment: &figment, profile, sources, winners: BTreeMap::new() };
    places.node(merged, &parts(sources, profile).rev().collect::<Vec<_>>(), 0)
}

/// What each source sets, weakest first.
fn parts<'s>(
    sources: &'s [SourceValues],
    profile: Option<&'s str>,
) -> impl DoubleEndedIterator<Item = SourcePart<'s>> {
    let stages = [Some(MergeStage::Files), profile.map(MergeStage::Profile), Some(MergeStage::Single)];
    stages.into_iter().flatten().flat_map(move |stage| {
        sources
            .iter()
            .enumerate()
            .filter_map(move |(source, values)| Some(SourcePart { stage, source, node: values.part(stage)? }))
    })
}

/// The key in the table at `path` that some source writes so that `matches` is true of it.
pub(super) fn find_key(
    sources: &[SourceValues],
    profile: Option<&str>,
    path: &[String],
    matches: impl Fn(&str) -> bool,
) -> Option<String> {
    let tables = parts(sources, profile)
        .filter_map(|part| path.iter().try_fold(part.node, |node, key| node.get(key))?.table());
    tables.flat_map(|table| table.keys()).find(|key| matches(key)).cloned()
}

/// Finds the places of merged values.
struct Places<'s> {
    figment: &'s Figment,
    profile: Option<&'s str>,
    sources: &'s [SourceValues],
    /// The positions of the sources that tags lead to.
    winners: BTreeMap<Tag, Option<usize>>,
}

impl<'s> Places<'s> {
    /// A merged value with its places. `parts` are what the sources set for it, strongest first.
    fn node(&mut self, value: FigmentValue, parts: &[SourcePart<'s>], depth: usize) -> Node {
        let places = self.places(&value, parts, depth);
        let data = match value {
            FigmentValue::Dict(_, mut dict) => {
                // figment sorts keys.
                let tables = || parts.iter().rev().filter_map(|part| part.node.table());
                let keys: IndexSet<&String> = tables().flat_map(|table| table.keys()).collect();
                let entries = keys.into_iter().filter_map(|key| {
                    let value = dict.remove(key)?;
                    let below =
                        |part: &SourcePart<'s>| Some(SourcePart { node: part.node.get(key)?, ..*part });
                    let below: Vec<_> = parts.iter().filter_map(below).collect();
                    Some((key.clone(), self.node(value, &below, depth + 1)))
                });
                Data::Table(entries.collect())
            }
            FigmentValue::Array(tag, items) => {
                let winner = self.winner(tag, parts).map(|at| parts[at]);
                let items = items.into_iter().enumerate().map(|(index, item)| {
                    let part = winner
                        .and_then(|part| Some(SourcePart { node: part.node.list()?.get(index)?, ..part }));
                    self.node(item, part.as_slice(), depth + 1)
                });
                Data::List(items.collect())
            }
            plain => Data::Value(serde_json::to_value(&plain).unwrap_or(Value::Null)),
        };
        Node { data, places, secret: false, expanded: false }
    }

    /// The places of a value `depth` keys deep: first in the source that has won, then in each other one.
    fn places(&mut self, value: &FigmentValue, parts: &[SourcePart<'s>], depth: usize) -> Vec<Occurrence> {
        let winner = self.winner(value.tag(), parts);
        let order = winner.into_iter().chain((0..parts.len()).filter(|at| Some(*at) != winner));
        let only_names = |at: usize| depth < self.sources[parts[at].source].named_tables;
        let is_table = |part: &SourcePart<'_>| part.node.table().is_some();
        let parts = order
            .filter(|at| !(only_names(*at) && parts.get(at + 1).is_some_and(is_table)))
            .map(|at| parts[at]);
        parts.flat_map(|part| part.node.places.iter().map(move |place| placed(part.stage, place))).collect()
    }

    /// The part to which a value's tag refers.
    fn winner(&mut self, tag: Tag, parts: &[SourcePart<'s>]) -> Option<usize> {
        let source = *self.winners.entry(tag).or_insert_with(|| {
            // One source is one entry, in the order of merging.
            let metadata = self.figment.get_metadata(tag)?;
            self.figment.metadata().position(|other| std::ptr::eq(other, metadata))
        });
        let stage = match tag.profile() {
            Some(profile) if profile == Profile::Default => MergeStage::Files,
            Some(_) => MergeStage::Single,
            None => MergeStage::Profile(self.profile?),
        };
        parts.iter().position(|part| Some(part.source) == source && part.stage == stage)
    }
}

/// `place`, with how its value got into the config.
fn placed(stage: MergeStage<'_>, place: &Occurrence) -> Occurrence {
    let via = match stage {
        MergeStage::Profile(name) => Some(format!("profile `{name}`")),
        _ => None,
    };
    Occurrence { via, ..place.clone() }
}
