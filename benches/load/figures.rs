//! What is measured of whom, and what becomes of many measurements of the same. Knows nothing of how they were made.

use std::fmt;

/// Whose a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Chatd,
    Redis,
    /// The server that stores nothing.
    Ceiling,
    /// A chatd with nothing stored.
    Empty,
    /// A chatd with millions of messages stored.
    Full,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Who::Chatd => "chatd",
            Who::Redis => "redis",
            Who::Ceiling => "ceiling",
            Who::Empty => "empty",
            Who::Full => "full",
        }
    }
}

/// The middle one of `figures`, or of the two in the middle their mean; `None` if there are none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(figures[middle]),
        _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
    }
}

/// One figure over another, if both were measured.
pub fn ratio(over: Option<f64>, under: Option<f64>) -> Option<f64> {
    over.zip(under).map(|(over, under)| over / under)
}

/// A figure as it stands in a table, with so many decimals; a dash for what was not measured.
pub fn show(figure: Option<f64>, decimals: usize) -> impl fmt::Display {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.decimals$}"))
}
