//! The kernels of a gateway.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Spec, Specs};
use crate::kernel::gateway::Gateway;

/// Its kernels. `default` names the default one; otherwise the gateway's is.
pub(super) async fn look(gateway: &Gateway, default: Option<&str>) -> Specs {
    match gateway.specs().await {
        Ok(answer) => read(gateway, &answer, default),
        Err(error) => {
            tracing::warn!(%error, "there are no kernels");
            Specs { message: Some(format!("There are no kernels: {error}.")), ..Specs::default() }
        }
    }
}

fn read(gateway: &Gateway, answer: &Value, default: Option<&str>) -> Specs {
    let listed = answer["kernelspecs"].as_object();
    let specs: BTreeMap<String, Spec> = listed
        .into_iter()
        .flatten()
        .map(|(name, entry)| (name.clone(), spec(gateway, name, &entry["spec"])))
        .collect();
    let wanted = default.or(answer["default"].as_str()).map(str::to_owned);
    let default = wanted.filter(|name| specs.contains_key(name)).or_else(|| specs.keys().next().cloned());
    let message = specs.is_empty().then(|| "The kernel gateway has no kernels.".to_owned());
    Specs { specs, default, message }
}

fn spec(gateway: &Gateway, name: &str, spec: &Value) -> Spec {
    let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
    let strings = spec["argv"].as_array().into_iter().flatten();
    Spec {
        name: name.to_owned(),
        display_name: Some(text("display_name")).filter(|text| !text.is_empty()).unwrap_or(name.to_owned()),
        language: text("language"),
        // Shown only: the gateway starts it.
        argv: strings.filter_map(|part| part.as_str().map(str::to_owned)).collect(),
        env: Vec::new(),
        interrupt_by_message: false,
        metadata: if spec["metadata"].is_object() { spec["metadata"].clone() } else { json!({}) },
        folder: None,
        built_in: false,
        gateway: Some(gateway.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_the_default_are_those_of_the_gateway() {
        let gateway = Gateway::new("http://localhost:1", None, None).unwrap();
        let answer = json!({"default": "b", "kernelspecs": {
            "a": {"spec": {"display_name": "A", "language": "python", "argv": ["x"]}},
            "b": {"spec": {}},
        }});
        let specs = read(&gateway, &answer, None);
        assert_eq!(specs.default.as_deref(), Some("b"));
        assert_eq!(
            (specs.specs["a"].display_name.as_str(), specs.specs["b"].display_name.as_str()),
            ("A", "b")
        );
        assert_eq!(read(&gateway, &answer, Some("a")).default.as_deref(), Some("a"));
        assert!(read(&gateway, &Value::Null, None).message.is_some());
    }
}
