//! Files of `src` have at most 400 lines, its functions at most 65, and all our code at most 120 columns.

use super::{files_below, is_for_tests, root, sources};
use std::fs;
use syn::visit::Visit;

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 65;
const COLUMNS: usize = 120;

struct Functions {
    /// Name, first line, and how many lines.
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn add(&mut self, name: &syn::Ident, body: &syn::Block) {
        let (first, last) = (name.span().start().line, body.brace_token.span.close().end().line);
        self.found.push((name.to_string(), first, last - first + 1));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }
}

#[test]
fn files_and_functions_are_short() {
    let (mut long, mut functions) = (Vec::new(), 0);
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            long.push((source.path.clone(), format!("{lines} lines of {FILE_LINES}")));
        }
        let mut all = Functions { found: Vec::new() };
        all.visit_file(&source.tree);
        functions += all.found.len();
        for (name, line, lines) in all.found.into_iter().filter(|(_, _, lines)| *lines > FUNCTION_LINES) {
            long.push((format!("{}: {name}", source.path), format!("line {line}: {lines} lines of {FUNCTION_LINES}")));
        }
    }
    assert!(functions > 500, "only {functions} functions were found");
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz", "examples"] {
        for file in files_below(&root().join(folder), &["rs", "sql", "py", "sh"]) {
            let text = fs::read_to_string(&file).expect("it can be read");
            // The texts that a program or a person hears, and lists, cannot be broken by the formatter.
            let is_long = |line: &str| {
                line.chars().count() > COLUMNS
                    && (!line.contains(['"', '\'', '(']) || line.trim_start().starts_with("//"))
            };
            for (number, line) in text.lines().enumerate().filter(|(_, line)| is_long(line)) {
                let (file, columns) = (file.display(), line.chars().count());
                long.push(format!("{file}:{}: {columns} columns of {COLUMNS}", number + 1));
            }
        }
    }
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}
