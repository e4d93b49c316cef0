//! What each source file names, resolved: imports, groups, aliases, globs, re-exports, inline paths and the tokens
//! of macros all come down to absolute paths such as `crate::domain::Key` or `std::time::Instant::now`.

use std::collections::{BTreeMap, BTreeSet};

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};

/// An absolute path: its first segment is `crate` or the name of another crate.
pub(crate) type Name = Vec<String>;

/// One file of `src`.
pub(crate) struct Source {
    /// Relative to `src`, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// What one file has, its tests left out.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) path: String,
    /// What it names, as written and as resolved through re-exports.
    pub(crate) names: BTreeSet<Name>,
    /// The methods it calls.
    pub(crate) methods: BTreeSet<String>,
    pub(crate) traits: BTreeSet<Trait>,
    /// Lines before its `#[cfg(test)]` module.
    pub(crate) lines: usize,
}

/// What a file does or is, beside naming things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trait {
    /// It has `async` or `await`.
    Async,
    /// It calls `elapsed` on the epoch, which tells the time without a `now`.
    AsksTheEpoch,
    /// It declares a module by `#[path]`, or includes source by `include!`: what it then has is not seen here.
    HidesSource,
    /// No module declares it, so that it is not compiled.
    Orphan,
}

/// What a module has in scope.
#[derive(Default)]
struct Scope {
    /// Defined in it: items and modules.
    defined: BTreeSet<String>,
    /// Brought in under this name: by `use`, `extern crate` or a type alias.
    aliases: BTreeMap<String, Vec<Written>>,
    /// Brought in whole.
    globs: Vec<Written>,
}

/// A path as the source has it.
#[derive(Clone)]
struct Written {
    segments: Vec<String>,
    /// It stands where a crate may be named alone: in a `use`, or behind `::`.
    may_be_crate: bool,
}

/// Reads `sources`, in which `crates` are the other crates that can be named, and `own` is this one's name.
pub(crate) fn read(sources: &[Source], own: &str, crates: &BTreeSet<String>) -> Result<Vec<File>, String> {
    let mut readers = Vec::new();
    for source in sources {
        let parsed = syn::parse_file(&source.text).map_err(|error| format!("{}: {error}", source.path))?;
        let mut reader = Reader::new(&source.path);
        reader.visit_file(&parsed);
        readers.push((source, reader));
    }

    let mut tree = Tree { own, crates, scopes: BTreeMap::new() };
    let mut test_modules = BTreeSet::new();
    for (_, reader) in &mut readers {
        test_modules.append(&mut reader.test_modules);
        for (module, scope) in std::mem::take(&mut reader.scopes) {
            let merged = tree.scopes.entry(module).or_default(); // lib.rs and main.rs are both `crate`
            merged.defined.extend(scope.defined);
            for (name, targets) in scope.aliases {
                merged.aliases.entry(name).or_default().extend(targets);
            }
            merged.globs.extend(scope.globs);
        }
    }

    let files = readers.into_iter().filter(|(_, reader)| {
        let module = module_of(&reader.file.path);
        !test_modules.iter().any(|tests: &Name| module.starts_with(tests))
    });
    Ok(files
        .map(|(source, reader)| {
            let mut file = reader.file;
            for (module, written) in &reader.written {
                file.names.extend(tree.resolve(module, written, 0));
            }
            file.lines = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
            if let Some((name, parent @ [_, ..])) = module_of(&file.path).split_last()
                && !tree.scopes.get(parent).is_some_and(|scope| scope.defined.contains(name))
            {
                file.traits.insert(Trait::Orphan);
            }
            file
        })
        .collect())
}

/// `domain/decide/begin.rs` is `crate::domain::decide::begin`; the roots are `crate`.
fn module_of(path: &str) -> Name {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let inner = match path {
        "lib" | "main" => "",
        path => path,
    };
    let segments = inner.split('/').filter(|segment| !segment.is_empty());
    std::iter::once("crate").chain(segments).map(String::from).collect()
}

/// How many aliases and globs one path may go through: more than any tree of ours has, and an end for cycles.
const DEEPEST: usize = 8;

struct Tree<'a> {
    own: &'a str,
    crates: &'a BTreeSet<String>,
    scopes: BTreeMap<Name, Scope>,
}

impl Tree<'_> {
    /// Every absolute path that `written` may mean in `module`: as it stands, and what a re-export makes of it.
    fn resolve(&self, module: &[String], written: &Written, depth: usize) -> Vec<Name> {
        let segments = &written.segments;
        let (Some(first), true) = (segments.first(), depth < DEEPEST) else { return Vec::new() };
        let absolute = match first.as_str() {
            "Self" => return Vec::new(),
            "crate" => segments.clone(),
            "self" => [module, &segments[1..]].concat(),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                [&module[..module.len().saturating_sub(ups).max(1)], &segments[ups..]].concat()
            }
            first if first == self.own && (segments.len() > 1 || written.may_be_crate) => {
                [&["crate".to_owned()], &segments[1..]].concat()
            }
            first if self.in_scope(module, first, depth) => [module, segments].concat(),
            first if self.crates.contains(first) && (segments.len() > 1 || written.may_be_crate) => {
                segments.clone()
            }
            _ => return self.through_globs(module, segments, depth),
        };
        if absolute[0] != "crate" {
            return vec![absolute];
        }
        let mut found = self.follow(&absolute, depth);
        found.push(absolute);
        found
    }

    /// Whether `module` defines or imports `name`.
    fn in_scope(&self, module: &[String], name: &str, depth: usize) -> bool {
        let Some(scope) = self.scopes.get(module) else { return false };
        scope.defined.contains(name)
            || scope.aliases.contains_key(name)
            || self.globs(module, depth).iter().any(|target| self.in_scope(target, name, depth + 1))
    }

    /// What `module` imports whole. The start of a glob's own path does not come through another glob of the module.
    fn globs(&self, module: &[String], depth: usize) -> Vec<Name> {
        let globs = self.scopes.get(module).map_or(&[][..], |scope| &scope.globs);
        let started = |glob: &&Written| {
            let first = &glob.segments[0];
            let scope = &self.scopes[module];
            !self.crates.contains(first) || scope.defined.contains(first) || scope.aliases.contains_key(first)
        };
        let internal = globs.iter().filter(started).flat_map(|glob| self.resolve(module, glob, depth + 1));
        let external = globs.iter().filter(|glob| !started(glob)).map(|glob| glob.segments.clone());
        internal.chain(external).collect()
    }

    /// What `absolute`, a path of this crate, leads to by the aliases and globs on its way.
    fn follow(&self, absolute: &[String], depth: usize) -> Vec<Name> {
        for at in 1..absolute.len() {
            let (module, rest) = absolute.split_at(at);
            let Some(scope) = self.scopes.get(module) else { return Vec::new() };
            if let Some(targets) = scope.aliases.get(&rest[0]) {
                let onward = |target: &Written| Written {
                    segments: [&target.segments[..], &rest[1..]].concat(),
                    may_be_crate: target.may_be_crate,
                };
                return targets.iter().flat_map(|t| self.resolve(module, &onward(t), depth + 1)).collect();
            }
            if !scope.defined.contains(&rest[0]) {
                return self.through_globs(module, rest, depth);
            }
        }
        Vec::new()
    }

    /// What `rest` may mean in `module` by its glob imports. Another crate's glob may hold anything.
    fn through_globs(&self, module: &[String], rest: &[String], depth: usize) -> Vec<Name> {
        let mut found = Vec::new();
        for target in self.globs(module, depth) {
            let path = [&target[..], rest].concat();
            if target[0] != "crate" {
                found.push(path);
            } else if self.in_scope(&target, &rest[0], depth + 1) {
                found.extend(self.follow(&path, depth + 1));
                found.push(path);
            }
        }
        found
    }
}

/// Collects what one file defines and names.
struct Reader {
    file: File,
    module: Name,
    scopes: BTreeMap<Name, Scope>,
    written: Vec<(Name, Written)>,
    test_modules: BTreeSet<Name>,
}

impl Reader {
    fn new(path: &str) -> Self {
        let module = module_of(path);
        Self {
            file: File { path: path.to_owned(), ..File::default() },
            scopes: BTreeMap::from([(module.clone(), Scope::default())]),
            module,
            written: Vec::new(),
            test_modules: BTreeSet::new(),
        }
    }

    fn note(&mut self, what: Trait, so: bool) {
        if so {
            self.file.traits.insert(what);
        }
    }

    fn scope(&mut self) -> &mut Scope {
        self.scopes.entry(self.module.clone()).or_default()
    }

    fn define(&mut self, name: &syn::Ident) {
        self.scope().defined.insert(name.to_string());
    }

    fn alias(&mut self, name: String, target: Written) {
        self.scope().aliases.entry(name).or_default().push(target);
    }

    fn name(&mut self, segments: Vec<String>, may_be_crate: bool) {
        self.written.push((self.module.clone(), Written { segments, may_be_crate }));
    }

    fn use_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let join = |last: &syn::Ident| [before, &[last.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&join(&path.ident), &path.tree),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(before, item)),
            syn::UseTree::Glob(_) => {
                self.name(before.to_vec(), true);
                let target = Written { segments: before.to_vec(), may_be_crate: true };
                self.scope().globs.push(target);
            }
            syn::UseTree::Name(name) => {
                let target = if name.ident == "self" { before.to_vec() } else { join(&name.ident) };
                self.import(target.last().cloned(), target);
            }
            syn::UseTree::Rename(rename) => {
                let target = if rename.ident == "self" { before.to_vec() } else { join(&rename.ident) };
                self.import(Some(rename.rename.to_string()), target);
            }
        }
    }

    fn import(&mut self, name: Option<String>, target: Vec<String>) {
        self.name(target.clone(), true);
        // `use tokio;` names the crate by its own name: an alias to itself would never end.
        if let Some(name) = name.filter(|name| target != [name.clone()]) {
            self.alias(name, Written { segments: target, may_be_crate: true });
        }
    }

    fn tokens(&mut self, mut cursor: Cursor<'_>) {
        let mut path: Vec<String> = Vec::new();
        let (mut colons, mut dots) = (0, 0);
        while !cursor.eof() {
            if let Some((ident, next)) = cursor.ident() {
                if colons != 2 {
                    self.end_of_path(&mut path, false);
                }
                match ident.to_string() {
                    word if word == "async" || word == "await" => self.note(Trait::Async, true),
                    word if dots == 1 => {
                        self.file.methods.insert(word);
                    }
                    word => path.push(word),
                }
                (colons, dots, cursor) = (0, 0, next);
            } else if let Some((punct, next)) = cursor.punct() {
                match punct.as_char() {
                    ':' => (colons, dots) = (colons + 1, 0),
                    '.' => (colons, dots) = (0, dots + 1),
                    _ => (colons, dots) = (0, 0),
                }
                if colons == 0 {
                    self.end_of_path(&mut path, false);
                }
                cursor = next;
            } else {
                self.end_of_path(&mut path, colons == 2);
                (colons, dots) = (0, 0);
                if let Some((inside, _, _, next)) = cursor.any_group() {
                    self.tokens(inside);
                    cursor = next;
                } else if let Some((_, next)) = cursor.token_tree() {
                    cursor = next;
                }
            }
        }
        self.end_of_path(&mut path, colons == 2);
    }

    fn end_of_path(&mut self, path: &mut Vec<String>, may_be_crate: bool) {
        if !path.is_empty() {
            self.name(std::mem::take(path), may_be_crate);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let name = match item {
            syn::Item::Const(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Fn(item) => Some(&item.sig.ident),
            syn::Item::Mod(item) => Some(&item.ident),
            syn::Item::Static(item) => Some(&item.ident),
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            syn::Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            self.define(name);
        }
        if attributes(item).iter().any(is_cfg_test) {
            if let syn::Item::Mod(module) = item {
                let path = [&self.module[..], &[module.ident.to_string()]].concat();
                self.test_modules.insert(path);
            }
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Fn(item) => &item.attrs[..],
            syn::ImplItem::Const(item) => &item.attrs[..],
            _ => &[],
        };
        if !attributes.iter().any(is_cfg_test) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.note(Trait::HidesSource, module.attrs.iter().any(|attribute| attribute.path().is_ident("path")));
        let outer = self.module.clone();
        self.module.push(module.ident.to_string());
        if module.content.is_some() {
            self.scope();
        }
        visit::visit_item_mod(self, module);
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let target = vec![item.ident.to_string()];
        let name = item.rename.as_ref().map_or_else(|| target[0].clone(), |(_, name)| name.to_string());
        self.import(Some(name), target);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        match &*item.ty {
            syn::Type::Path(syn::TypePath { qself: None, path, .. }) => {
                let target = segments(path);
                if target != [item.ident.to_string()] {
                    self.alias(item.ident.to_string(), Written { segments: target, may_be_crate: false });
                }
            }
            _ => self.define(&item.ident),
        }
        visit::visit_item_type(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.name(segments(path), path.leading_colon.is_some());
        visit::visit_path(self, path);
    }

    fn visit_expr_path(&mut self, expression: &'ast syn::ExprPath) {
        // `<Instant>::now` is `Instant::now`.
        if let Some(syn::QSelf { ty, .. }) = &expression.qself
            && let syn::Type::Path(syn::TypePath { qself: None, path, .. }) = &**ty
        {
            let last = expression.path.segments.last().map(|segment| segment.ident.to_string());
            self.name(segments(path).into_iter().chain(last).collect(), false);
        }
        visit::visit_expr_path(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.file.methods.insert(call.method.to_string());
        if let syn::Expr::Path(receiver) = &*call.receiver
            && call.method == "elapsed"
            && receiver.path.segments.last().is_some_and(|segment| segment.ident == "UNIX_EPOCH")
        {
            self.note(Trait::AsksTheEpoch, true);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.note(Trait::Async, signature.asyncness.is_some());
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expression: &'ast syn::ExprAsync) {
        self.note(Trait::Async, true);
        visit::visit_expr_async(self, expression);
    }

    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.note(Trait::Async, true);
        visit::visit_expr_await(self, expression);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.note(Trait::Async, closure.asyncness.is_some());
        visit::visit_expr_closure(self, closure);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.note(Trait::HidesSource, call.path.is_ident("include"));
        visit::visit_macro(self, call);
        self.tokens(TokenBuffer::new2(call.tokens.clone()).begin());
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        visit::visit_meta_list(self, list);
        self.tokens(TokenBuffer::new2(list.tokens.clone()).begin());
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]` alone: what is there with a feature too is not left out.
fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
}
