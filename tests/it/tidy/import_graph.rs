//! Which file of `src/` imports which: from every `use` tree, and every path that starts with `crate`, `self`
//! or `super`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// A path in parts, from the root of the crate.
type Names = Vec<String>;

/// What one module contains.
#[derive(Default)]
struct Module {
    file: String,
    /// The items that it defines.
    items: BTreeSet<String>,
    /// What it imports: the name here, and the path; `*` for everything in a path.
    imports: Vec<(String, Names)>,
    /// All paths in it, with those of its imports.
    paths: BTreeSet<Names>,
}

/// The modules of a crate, by path.
pub(super) struct ImportGraph {
    modules: BTreeMap<Names, Module>,
}

impl ImportGraph {
    /// Reads all Rust files below `src`. Modules for tests are left out.
    pub(super) fn read(src: &Path, files: &[PathBuf]) -> ImportGraph {
        let mut modules = BTreeMap::new();
        for path in files {
            let file = path.strip_prefix(src).unwrap().to_str().unwrap();
            let mut names: Names = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if names.last().is_some_and(|last| last == "mod" || last == "lib") {
                names.pop();
            }
            let text = std::fs::read_to_string(path).unwrap();
            modules.insert(names.clone(), Module::read(file, names, &text));
        }
        ImportGraph { modules }
    }

    /// The files that each file imports, each with the path that says so.
    pub(super) fn edges(&self) -> BTreeMap<&str, BTreeMap<&str, String>> {
        let edges = |module: &Module| {
            let targets = module.paths.iter().map(|path| (self.file_of(path), path.join("::")));
            targets.filter(|(file, _)| *file != module.file).collect()
        };
        self.modules.values().map(|module| (module.file.as_str(), edges(module))).collect()
    }

    /// The file that defines what `path` leads to.
    fn file_of(&self, path: &[String]) -> &str {
        let mut path = path.to_vec();
        // An import may lead to another import, but not in a circle.
        for _ in 0..20 {
            let known = (0..=path.len()).rev().find(|count| self.modules.contains_key(&path[..*count]));
            let (place, rest) = path.split_at(known.unwrap_or(0));
            let module = &self.modules[place];
            let Some(name) = rest.first() else { return &module.file };
            if module.items.contains(name) {
                return &module.file;
            }
            let defines = |place: &Names| {
                self.modules.get(place).is_some_and(|module| module.items.contains(name))
                    || self.modules.contains_key(&[place.as_slice(), std::slice::from_ref(name)].concat())
            };
            let named = module.imports.iter().find(|(own, _)| own == name);
            let next = match named {
                Some((_, target)) => [target, &rest[1..]].concat(),
                None => match module.imports.iter().find(|(own, place)| own == "*" && defines(place)) {
                    Some((_, target)) => [target, rest].concat(),
                    None => return &module.file,
                },
            };
            path = next;
        }
        panic!("imports lead in a circle: {path:?}");
    }

    /// The circles of files: each file of a circle leads to every other one.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&str>> {
        let edges = self.edges();
        let reached = |from: &str| {
            let mut reached = BTreeSet::new();
            let mut next: Vec<&str> = edges[from].keys().copied().collect();
            while let Some(file) = next.pop() {
                if reached.insert(file) {
                    next.extend(edges[file].keys());
                }
            }
            reached
        };
        let all: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reached(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, reached) in &all {
            let back = |other: &&str| all[other].contains(file);
            circles.insert(reached.iter().copied().filter(back).collect::<BTreeSet<_>>());
        }
        circles.into_iter().filter(|circle| !circle.is_empty()).collect()
    }
}

impl Module {
    fn read(file: &str, names: Names, text: &str) -> Module {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{file}: {error}"));
        let mut reader = Reader { names, module: Module { file: file.to_owned(), ..Module::default() } };
        reader.visit_file(&parsed);
        reader.module
    }
}

/// Reads one file.
struct Reader {
    names: Names,
    module: Module,
}

impl Reader {
    /// The path from the root of the crate; `None` if it does not start with `crate`, `self` or `super`. (The
    /// program's own file uses the library by its name.)
    fn absolute(&self, names: &[String]) -> Option<Names> {
        let mut place = match names.first()?.as_str() {
            "crate" | "paster" => Vec::new(),
            "self" => self.names.clone(),
            "super" => self.names[..self.names.len() - 1].to_vec(),
            _ => return None,
        };
        for name in &names[1..] {
            match name.as_str() {
                "super" => drop(place.pop()),
                "self" => {}
                _ => place.push(name.clone()),
            }
        }
        Some(place)
    }

    fn path(&mut self, names: &[String]) {
        if let Some(path) = self.absolute(names) {
            self.module.paths.insert(path);
        }
    }

    fn tree(&mut self, mut place: Names, tree: &UseTree) {
        let (last, own) = match tree {
            UseTree::Path(path) => {
                place.push(path.ident.to_string());
                return self.tree(place, &path.tree);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.tree(place.clone(), tree));
            }
            UseTree::Name(name) => (name.ident.to_string(), name.ident.to_string()),
            UseTree::Rename(rename) => (rename.ident.to_string(), rename.rename.to_string()),
            UseTree::Glob(_) => ("self".to_owned(), "*".to_owned()),
        };
        let own = if own == "self" { place.last().cloned().unwrap_or_default() } else { own };
        place.push(last);
        self.path(&place);
        // `use child::Name` in the parent.
        let path = self.absolute(&place).unwrap_or_else(|| [self.names.clone(), place].concat());
        self.module.imports.push((own, path));
    }

    /// The paths in the arguments of a macro.
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        let mut names: Names = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                proc_macro2::TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.path(&std::mem::take(&mut names));
                    }
                    names.push(name.to_string());
                    colons = 0;
                }
                other => {
                    self.path(&std::mem::take(&mut names));
                    colons = 0;
                    if let proc_macro2::TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(&names);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_file(&mut self, file: &'ast syn::File) {
        for item in &file.items {
            let name = match item {
                Item::Const(item) => &item.ident,
                Item::Enum(item) => &item.ident,
                Item::Fn(item) => &item.sig.ident,
                Item::Static(item) => &item.ident,
                Item::Struct(item) => &item.ident,
                Item::Trait(item) => &item.ident,
                Item::Type(item) => &item.ident,
                Item::Union(item) => &item.ident,
                Item::Mod(item) if item.content.is_some() => &item.ident,
                _ => continue,
            };
            self.module.items.insert(name.to_string());
        }
        visit::visit_file(self, file);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() && !is_test(&item.attrs) {
            self.names.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.names.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(Vec::new(), &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.path(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
    }

    /// `pub(in crate::…)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

#[test]
fn every_form_of_an_import_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = [
        write("lib.rs", "mod a; mod b;"),
        write("a/mod.rs", "mod c; mod d; pub use c::{C, E as F}; pub use self::d::*; pub struct A;"),
        write("a/c.rs", "pub struct C; pub struct E; use super::d::D as Named;"),
        write("a/d.rs", "pub struct D; pub(in crate::b) fn d() {}"),
        write(
            "b.rs",
            "use crate::{a::{self, F}, b as own}; fn b() { crate::a::D::new(); print!(\"{}\", super::a::A) }
             #[cfg(test)] mod tests { use crate::a::C; }",
        ),
    ];
    let graph = ImportGraph::read(folder.path(), &files);
    let edges = graph.edges();
    let check = |file: &str, expected: &[&str]| {
        assert_eq!(edges[file].keys().copied().collect::<Vec<_>>(), expected, "{file}");
    };
    check("lib.rs", &[]);
    check("a/mod.rs", &["a/d.rs"]);
    check("a/c.rs", &["a/d.rs"]);
    check("a/d.rs", &[]);
    check("b.rs", &["a/c.rs", "a/d.rs", "a/mod.rs"]);
    assert!(graph.circles().is_empty());
    let back = write("a/d.rs", "use super::super::b;");
    let again: Vec<PathBuf> =
        files.iter().filter(|file| **file != back).cloned().chain([back.clone()]).collect();
    let graph = ImportGraph::read(folder.path(), &again);
    assert_eq!(graph.circles(), [BTreeSet::from(["a/c.rs", "a/d.rs", "a/mod.rs", "b.rs"])]);
}
