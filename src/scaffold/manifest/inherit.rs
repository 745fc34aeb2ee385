//! A manifest with what it takes from those that its skeleton extends, and tests for all combinations of answers.

use serde_json::{Map, Value};

use super::{Case, FileRule, Manifest, PostAction, PostStep};

/// The most tests that one `[[test]]` becomes.
const COMBINATIONS: usize = 200;

impl Manifest {
    /// Adds what `base` has and this manifest does not define itself. Its own items stay first in each list but that of
    /// variables; `own_posts` are its own steps.
    pub(super) fn inherit(&mut self, base: &Manifest, own_posts: usize) {
        let mut vars = base.vars.clone();
        for own in self.vars.drain(..) {
            match vars.iter_mut().find(|var| var.name == own.name) {
                Some(var) => *var = own,
                None => vars.push(own),
            }
        }
        self.vars = vars;
        let has_rule = |rules: &[FileRule], path: &str| {
            rules.iter().any(|rule| without_hbs(&rule.path) == without_hbs(path))
        };
        let rules: Vec<_> =
            base.files.iter().filter(|rule| !has_rule(&self.files, &rule.path)).cloned().collect();
        self.files.extend(rules);
        let twice = |posts: &[PostStep], post: &PostStep| {
            !matches!(post.action, PostAction::Chmod | PostAction::Run)
                && posts.iter().any(|own| own.action == post.action)
        };
        let posts: Vec<_> = base.posts.iter().filter(|post| !twice(&self.posts, post)).cloned().collect();
        self.posts.splice(own_posts..own_posts, posts);
        if self.about.next.is_empty() {
            self.about.next.clone_from(&base.about.next);
        }
    }
}

/// The path of a template is that of its result.
pub(in crate::scaffold) fn without_hbs(path: &str) -> &str {
    path.strip_suffix(".hbs").unwrap_or(path)
}

impl Case {
    /// One test for each combination of the answers in `matrix`.
    /// # Errors
    /// What is wrong with `matrix`.
    pub(super) fn combinations(&self) -> Result<Vec<Case>, String> {
        let mut all = vec![self.vars.clone()];
        for (name, values) in &self.matrix {
            let values = values.as_array().filter(|values| !values.is_empty());
            let values = values.ok_or_else(|| format!("`{name}` in `matrix` must be a list of answers"))?;
            if self.vars.contains_key(name) {
                return Err(format!("`{name}` is in `vars` and in `matrix`"));
            }
            if all.len().saturating_mul(values.len()) > COMBINATIONS {
                return Err(format!("these are more than {COMBINATIONS} combinations"));
            }
            let with = |vars: &Map<String, Value>, value: &Value| {
                let mut vars = vars.clone();
                vars.insert(name.clone(), value.clone());
                vars
            };
            all = all.iter().flat_map(|vars| values.iter().map(move |value| with(vars, value))).collect();
        }
        Ok(all.into_iter().map(|vars| Case { vars, matrix: Map::new(), ..self.clone() }).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_combination_is_a_test() {
        let map = |value: Value| value.as_object().cloned().unwrap();
        let case =
            |vars: Value, matrix: Value| Case { vars: map(vars), matrix: map(matrix), ..Case::default() };
        let all =
            case(json!({ "a": 1 }), json!({ "b": [true, false], "c": ["x", "y"] })).combinations().unwrap();
        let vars: Vec<String> = all.iter().map(|case| Value::Object(case.vars.clone()).to_string()).collect();
        assert_eq!(
            vars,
            [
                r#"{"a":1,"b":true,"c":"x"}"#,
                r#"{"a":1,"b":true,"c":"y"}"#,
                r#"{"a":1,"b":false,"c":"x"}"#,
                r#"{"a":1,"b":false,"c":"y"}"#
            ]
        );
        assert_eq!(case(json!({}), json!({})).combinations().unwrap().len(), 1);
        assert!(case(json!({ "b": 1 }), json!({ "b": [1] })).combinations().is_err());
        assert!(case(json!({}), json!({ "b": [] })).combinations().is_err());
        assert!(case(json!({}), json!({ "b": vec![0; 15], "c": vec![0; 15] })).combinations().is_err());
    }
}
