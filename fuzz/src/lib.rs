//! What must hold of any bytes at all, a module for each fuzz target. `tests/it/corpus.rs` has the same modules and
//! tries them on the corpora, so that what was found once stays found without a nightly compiler.

pub mod config;
pub mod family;
pub mod framer;
pub mod json;
pub mod name;
pub mod parser;
pub mod text;
