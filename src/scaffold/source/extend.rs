//! A skeleton with the files of those that it extends.

use sha2::{Digest, Sha256};

use super::Skeleton;
use crate::scaffold::manifest::without_hbs;
use crate::scaffold::merge::MergeKind;

impl Skeleton {
    /// Adds what `base` has. A file with the same path replaces that of `base`, or is merged into it, according to its rule.
    pub(super) fn extend(&mut self, base: Skeleton) {
        let digests = [&self.source.digest, &base.source.digest];
        self.source.digest = crate::scaffold::hex(&Sha256::digest(digests.map(String::as_str).concat()));
        for (name, partial) in base.partials {
            self.partials.entry(name).or_insert(partial);
        }
        let merges = |skeleton: &Skeleton, path: &str| {
            let same = |source: &str| without_hbs(source) == without_hbs(path);
            let rule = skeleton.manifest.files.iter().find(|rule| same(&rule.path));
            rule.is_some_and(|rule| rule.merge != MergeKind::Text)
        };
        let mut below = base.below;
        for file in base.files {
            let path = file.source_path();
            let has = self.files.iter().any(|own| without_hbs(&own.source_path()) == without_hbs(&path));
            if has && !self.files.iter().any(|own| own.path == file.path) {
                // A template in place of a plain file, or the other way round.
                self.manifest.files.retain(|rule| rule.path != path);
            }
            match has {
                false => self.files.push(file),
                true if merges(self, &path) => below.push(file),
                true => below.retain(|other| without_hbs(&other.source_path()) != without_hbs(&path)),
            }
        }
        below.append(&mut self.below);
        self.below = below;
        self.files.sort_by(|left, right| left.path.cmp(&right.path));
    }
}
