//! Why no certificate came, in a line with a remedy, and how soon it makes sense to try again.

use std::time::{Duration, Instant};

use instant_acme::Problem;

use super::directory::BadAnswer;
use crate::model::visible;

/// The first wait when the authority does not answer: a network may come up a moment after the server.
const AWAY: Duration = Duration::from_secs(5);
/// The first wait after anything else. Authorities count failures.
const REFUSED: Duration = Duration::from_secs(60);
/// So much of what an authority says is logged, in characters.
const SAID: usize = 500;
const AGAIN: &str = "this server tries again";

#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeFailure {
    #[error("{host}: {why}: {remedy}")]
    Unreachable { host: String, why: String, remedy: &'static str, retry_after: Option<Duration> },
    #[error("{host} refuses: {why}: {remedy}")]
    Refused { host: String, why: String, remedy: &'static str, retry_after: Option<Duration> },
    #[error("{name}: the authority was not convinced that this name leads here: {why}: {remedy}")]
    NotConvinced { name: String, why: String, remedy: &'static str },
    #[error("{name}: the authority does not know the challenge tls-alpn-01: choose another acme.directory")]
    NoChallenge { name: String },
    #[error("the authority has not finished in time")]
    Late,
    #[error("acme.state: {0}")]
    State(std::io::Error),
    #[error("the certificate that came cannot be used: {0}")]
    Unusable(String),
    #[error("the challenge cannot be answered: {0}")]
    NoAnswer(String),
}

impl AcmeFailure {
    /// What the library says. `retry_after` is what the directory's last refusal said of it.
    pub(super) fn of(error: instant_acme::Error, host: &str, retry_after: Option<Duration>) -> AcmeFailure {
        let host = host.to_owned();
        match error {
            instant_acme::Error::Api(problem) => {
                let remedy = remedy(kind(&problem));
                AcmeFailure::Refused { host, why: said(&problem), remedy, retry_after }
            }
            instant_acme::Error::Timeout(None) => AcmeFailure::Late,
            instant_acme::Error::Timeout(Some(next)) => {
                let retry_after = Some(next.saturating_duration_since(Instant::now()));
                let why = "it has not finished".to_owned();
                AcmeFailure::Unreachable { host, why, remedy: AGAIN, retry_after }
            }
            instant_acme::Error::Json(_) => AcmeFailure::of_answer(&BadAnswer::NoDirectory, host, retry_after),
            instant_acme::Error::Other(error) => match error.downcast_ref() {
                Some(bad) => AcmeFailure::of_answer(bad, host, retry_after),
                None => AcmeFailure::Refused { host, why: error.to_string(), remedy: AGAIN, retry_after },
            },
            error => AcmeFailure::Refused { host, why: error.to_string(), remedy: AGAIN, retry_after },
        }
    }

    /// That the directory did not answer as one does.
    pub(super) fn of_answer(bad: &BadAnswer, host: String, retry_after: Option<Duration>) -> AcmeFailure {
        let remedy = match bad {
            BadAnswer::NoAnswer(_) => "this server must be able to connect to it (acme.directory, acme.ca)",
            BadAnswer::Status(status) if status.is_server_error() => AGAIN,
            BadAnswer::Status(_) | BadAnswer::NoDirectory => "is acme.directory the address of a directory?",
        };
        AcmeFailure::Unreachable { host, why: bad.to_string(), remedy, retry_after }
    }

    /// That a challenge for this name has failed.
    pub(super) fn of_challenge(name: String, problem: Option<&Problem>) -> AcmeFailure {
        let why = problem.map_or_else(|| "it does not say why".to_owned(), said);
        let remedy = match problem.map(kind) {
            Some("caa") => remedy("caa"),
            Some("dns") => "the name must have an address in the public DNS that leads to this server",
            _ => {
                "port 443 of this name must lead to a TLS listener of this server, for everybody (DNS, firewall, \
                 forwarding)"
            }
        };
        AcmeFailure::NotConvinced { name, why, remedy }
    }

    /// How long to wait after the first of them.
    pub(super) fn first_wait(&self) -> Duration {
        match self {
            AcmeFailure::Unreachable { .. } => AWAY,
            _ => REFUSED,
        }
    }

    /// How long the authority wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            AcmeFailure::Unreachable { retry_after, .. } | AcmeFailure::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The last word of the problem's type (RFC 8555, section 6.7).
fn kind(problem: &Problem) -> &str {
    problem.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
}

fn said(problem: &Problem) -> String {
    let text: String = problem.to_string().chars().take(SAID).collect();
    visible(text.strip_prefix("API error: ").unwrap_or(&text)).into_owned()
}

fn remedy(kind: &str) -> &'static str {
    match kind {
        "rateLimited" => "it limits how much it is asked; wait",
        "rejectedIdentifier" | "unsupportedIdentifier" => "it does not sign for a name in acme.hosts; change them",
        "caa" => "a CAA record in the DNS of the name forbids it; change the record",
        "externalAccountRequired" | "userActionRequired" => {
            "it wants an account that a person has made, and chatd cannot use one; choose another acme.directory"
        }
        "invalidContact" | "unsupportedContact" => "it does not take acme.contact; change it",
        "unauthorized" => "its account may be shut; remove account.pem from acme.state for another one",
        _ => AGAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        let problem = serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
        serde_json::from_value(problem).expect("it is one")
    }

    #[test]
    fn what_an_authority_says_is_one_line_with_a_remedy() {
        let refused = |kind: &str, detail: &str| {
            AcmeFailure::of(problem(kind, detail).into(), "acme.example.org", None).to_string()
        };
        let rejected = refused("rejectedIdentifier", "no\nsuch\u{1b}[31m name");
        assert_eq!(
            rejected,
            "acme.example.org refuses: no\\nsuch\\x1b[31m name (urn:ietf:params:acme:error:rejectedIdentifier): it does \
             not sign for a name in acme.hosts; change them"
        );
        assert!(refused("malformed", &"x".repeat(5000)).len() < 700);
        let challenge = |kind: &str| {
            let problem = problem(kind, "no");
            AcmeFailure::of_challenge("chat.example.org".to_owned(), Some(&problem)).to_string()
        };
        assert!(challenge("connection").contains("port 443 of this name"));
        assert!(challenge("dns").contains("public DNS"));
    }

    #[test]
    fn the_directorys_wish_to_be_left_alone_is_kept() {
        let wish = Some(Duration::from_secs(7200));
        let limited = AcmeFailure::of(problem("rateLimited", "too many").into(), "acme.example.org", wish);
        assert_eq!(limited.retry_after(), wish);
        let later = Instant::now() + Duration::from_secs(7200);
        let late = AcmeFailure::of(instant_acme::Error::Timeout(Some(later)), "acme.example.org", None);
        assert!(late.retry_after().is_some_and(|wait| wait > Duration::from_secs(7000)));
    }
}
