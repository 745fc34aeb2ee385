//! What a template uses, without rendering it.

use handlebars::Path;
use handlebars::template::{HelperTemplate, Parameter, Template, TemplateElement};

/// A value that a template writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::scaffold) struct UsedValue {
    /// The variable.
    pub(in crate::scaffold) variable: String,
    /// The outermost helper around it.
    pub(in crate::scaffold) helper: Option<String>,
}

/// What a template uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::scaffold) struct TemplateUsage {
    /// The first part of each path: names of variables, or of fields in a loop.
    pub(in crate::scaffold) variables: Vec<String>,
    /// Names of the partials that it includes.
    pub(in crate::scaffold) partials: Vec<String>,
    /// The values that it writes.
    pub(in crate::scaffold) written: Vec<UsedValue>,
}

impl TemplateUsage {
    /// # Errors
    /// Parts of Handlebars that skeletons may not use, as the end of a sentence.
    pub(super) fn of(template: &Template) -> Result<TemplateUsage, String> {
        let mut usage = TemplateUsage::default();
        usage.template(template, 0)?;
        Ok(usage)
    }

    fn template(&mut self, template: &Template, depth: usize) -> Result<(), String> {
        if depth > 60 {
            return Err("has blocks nested more than 60 levels deep".into());
        }
        for element in &template.elements {
            match element {
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                    self.written(helper);
                    self.helper(helper, depth)?;
                }
                TemplateElement::HelperBlock(helper) => self.helper(helper, depth)?,
                TemplateElement::PartialExpression(partial) => {
                    match &partial.name {
                        Parameter::Name(name) => self.partials.push(name.clone()),
                        Parameter::Path(path) => self.partials.push(raw(path).to_owned()),
                        _ => return Err("includes a partial whose name is computed".into()),
                    }
                    partial
                        .params
                        .iter()
                        .chain(partial.hash.values())
                        .for_each(|parameter| self.parameter(parameter));
                }
                TemplateElement::PartialBlock(_) => {
                    return Err("uses a partial as a block (`{{#> …}}`)".into());
                }
                TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                    return Err(
                        "uses a decorator (`{{* …}}`): put partials into the folder `partials`".into()
                    );
                }
                // A later version of the library may have more.
                _ => return Err("uses a part of Handlebars that skeletons do not have".into()),
            }
        }
        Ok(())
    }

    /// A value that is written unchanged, or with a helper.
    fn written(&mut self, helper: &HelperTemplate) {
        let name = match &helper.name {
            Parameter::Name(name) => Some(name.clone()),
            Parameter::Path(path) => Some(raw(path).to_owned()),
            _ => None,
        };
        match helper.params.first() {
            None => self
                .written
                .extend(name.map(|variable| UsedValue { variable: first(&variable), helper: None })),
            Some(Parameter::Path(path)) => {
                self.written.push(UsedValue { variable: first(raw(path)), helper: name });
            }
            Some(_) => {}
        }
    }

    fn helper(&mut self, helper: &HelperTemplate, depth: usize) -> Result<(), String> {
        // `{{name}}` is a variable; the name of a helper has arguments.
        if helper.params.is_empty() && helper.hash.is_empty() && !helper.block {
            match &helper.name {
                Parameter::Name(name) => self.variables.push(first(name)),
                other => self.parameter(other),
            }
        }
        helper.params.iter().chain(helper.hash.values()).for_each(|parameter| self.parameter(parameter));
        for inner in helper.template.iter().chain(&helper.inverse) {
            self.template(inner, depth + 1)?;
        }
        Ok(())
    }

    fn parameter(&mut self, parameter: &Parameter) {
        match parameter {
            Parameter::Path(path @ Path::Relative(_)) => self.variables.push(first(raw(path))),
            Parameter::Subexpression(inner) => {
                if let TemplateElement::Expression(helper) = &*inner.element {
                    helper.params.iter().chain(helper.hash.values()).for_each(|inner| self.parameter(inner));
                }
            }
            _ => {}
        }
    }
}

/// The first name of a path: `user` of `user.name`.
fn first(path: &str) -> String {
    path.split(['.', '/', '[']).next().unwrap_or(path).to_owned()
}

/// A path as it was written.
fn raw(path: &Path) -> &str {
    match path {
        Path::Relative((_, raw)) | Path::Local((_, _, raw)) => raw,
    }
}
