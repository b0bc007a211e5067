//! One word has one meaning: no two types of `src` have the same name.

use super::{is_for_tests, sources};
use std::collections::BTreeMap;
use syn::Item;

/// Names that stand twice, and why.
const TWICE: &[(&str, &str)] = &[];

fn declared<'a>(items: impl IntoIterator<Item = &'a Item>, found: &mut Vec<String>) {
    for item in items {
        match item {
            Item::Struct(item) if !is_for_tests(&item.attrs) => found.push(item.ident.to_string()),
            Item::Enum(item) if !is_for_tests(&item.attrs) => found.push(item.ident.to_string()),
            Item::Trait(item) if !is_for_tests(&item.attrs) => found.push(item.ident.to_string()),
            Item::Type(item) if !is_for_tests(&item.attrs) => found.push(item.ident.to_string()),
            Item::Fn(item) => {
                let inside = item.block.stmts.iter().filter_map(|statement| match statement {
                    syn::Stmt::Item(item) => Some(item),
                    _ => None,
                });
                declared(inside.collect::<Vec<_>>(), found);
            }
            Item::Mod(item) if !is_for_tests(&item.attrs) => {
                declared(item.content.iter().flat_map(|(_, items)| items).collect::<Vec<_>>(), found);
            }
            _ => {}
        }
    }
}

#[test]
fn no_type_name_is_declared_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources().iter().filter(|source| !source.path.ends_with("tests.rs")) {
        let mut found = Vec::new();
        declared(&source.tree.items, &mut found);
        for name in found {
            places.entry(name).or_default().push(source.path.clone());
        }
    }
    assert!(places.len() > 100, "only {} types were found", places.len());
    places.retain(|_, files| files.len() > 1);
    let twice: Vec<String> = places
        .iter()
        .filter(|(name, _)| !TWICE.iter().any(|(allowed, _)| allowed == name))
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(twice.is_empty(), "give one of each another name, or this test a reason:\n{}", twice.join("\n"));
    for (name, reason) in TWICE {
        assert!(places.contains_key(*name), "{name} is no longer there twice ({reason})");
    }
}
