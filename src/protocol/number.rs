//! Which parameter of a command was to be a whole number and is none.

/// A parameter that is a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Of `wait`, `fetch` and `follow`.
    Seconds,
    /// Of `history`.
    BeforeId,
    /// Of `history`.
    Count,
    /// Of `follow`.
    AfterId,
    /// Of `follow`.
    Reads,
    /// Of `read`.
    UptoId,
    /// Of `endsession`.
    Id,
}

impl Number {
    /// All of them.
    pub const ALL: [Number; 7] =
        [Number::Seconds, Number::BeforeId, Number::Count, Number::AfterId, Number::Reads, Number::UptoId, Number::Id];

    /// The refusal of a word that is no number.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Number::Seconds => "SECONDS must be a whole number",
            Number::BeforeId => "BEFORE-ID must be a whole number",
            Number::Count => "COUNT must be a whole number",
            Number::AfterId => "AFTER-ID must be a whole number, or now",
            Number::Reads => "READS must be a whole number",
            Number::UptoId => "UPTO-ID must be a whole number",
            Number::Id => "ID must be a whole number",
        }
    }
}
