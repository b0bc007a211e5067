//! The settings of the certificate that comes by itself.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::{BadConfig, ServerConfig, WordList};

/// The certificate that comes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeConfig {
    /// The names that it is for.
    pub hosts: WordList,
    /// Mail addresses for the authority.
    pub contact: WordList,
    /// The authority's directory.
    pub directory: String,
    /// Who vouches for the directory's own certificate (PEM).
    pub ca: PathBuf,
    /// Where keys and certificates are kept.
    pub state: PathBuf,
}

impl Default for AcmeConfig {
    fn default() -> AcmeConfig {
        AcmeConfig {
            hosts: WordList::default(),
            contact: WordList::default(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            ca: PathBuf::new(),
            state: PathBuf::new(),
        }
    }
}

impl AcmeConfig {
    /// Whether the server gets its certificate by itself.
    pub(crate) fn is_on(&self) -> bool {
        !self.hosts.0.is_empty()
    }

    /// What is wrong with the value of one setting, by itself.
    pub(super) fn wrong(name: &str, value: &Value) -> Option<String> {
        if name == "directory" {
            return no_directory(value.as_str()?);
        }
        if !["hosts", "contact"].contains(&name) {
            return None;
        }
        let WordList(words) = match value.clone().try_into() {
            Ok(words) => words,
            Err(error) => return Some(error.message().replace('\n', " ")),
        };
        words.iter().find_map(|word| if name == "hosts" { no_host(word) } else { no_mail_address(word) })
    }

    /// There is one certificate: that of ACME, or that of the files.
    pub(super) fn is_alone(&self, server: &ServerConfig) -> Result<(), BadConfig> {
        let files = [("server.tls_certificate", &server.tls_certificate), ("server.tls_key", &server.tls_key)];
        match files.iter().find(|(_, path)| !path.as_os_str().is_empty()) {
            Some((key, _)) if self.is_on() => Err(BadConfig::new(format!(
                "acme.hosts: {key} is set, too, and there can be only one certificate: take away server.tls_certificate and \
                 server.tls_key, or acme.hosts"
            ))),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a name for which a certificate is asked.
fn no_host(word: &str) -> Option<String> {
    let is_label = |label: &str| {
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if word.starts_with("*.") {
        return Some(format!("{word:?}: no certificate for all names of a domain comes this way; write each name"));
    }
    if word.parse::<IpAddr>().is_ok() {
        return Some(format!("{word:?} is an address; write a name"));
    }
    let is_name = word.len() <= 253 && word.split('.').all(is_label);
    let bare = word.rsplit("//").next().unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    (!is_name).then(|| {
        format!("{word:?} is no name of a host in lower case, without a port; write {:?}", bare.to_lowercase())
    })
}

fn no_mail_address(word: &str) -> Option<String> {
    let bare = word.strip_prefix("mailto:").unwrap_or(word);
    let is_part = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "@,?".contains(c))
    };
    let is_address = bare.split_once('@').is_some_and(|(name, host)| is_part(name) && is_part(host));
    match (is_address, bare == word) {
        (true, true) => None,
        (true, false) => Some(format!("{word:?}: write {bare:?}")),
        (false, _) => Some(format!("{word:?} is no mail address such as \"admin@example.org\"")),
    }
}

fn no_directory(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let is_address = !host.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) && !host.contains('@');
    (!is_address).then(|| format!("{text:?} is no https address; write {:?}", AcmeConfig::default().directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_is_wrong_is_told_with_what_to_write() {
        let wrong = |name: &str, value: &str| AcmeConfig::wrong(name, &Value::from(value)).unwrap_or_default();
        for (name, good) in [
            ("hosts", "chat.example.org"),
            ("hosts", "localhost, xn--bcher-kva.example"),
            ("contact", "admin@example.org"),
            ("directory", "https://127.0.0.1:14000/dir"),
            ("ca", "anything"),
        ] {
            assert_eq!(wrong(name, good), "", "{name} {good}");
        }
        for (name, bad, remedy) in [
            ("hosts", "https://Chat.example.org/x", "write \"chat.example.org\""),
            ("hosts", "chat.example.org:443", "write \"chat.example.org\""),
            ("hosts", "*.example.org", "write each name"),
            ("hosts", "192.0.2.1", "write a name"),
            ("hosts", "::1", "write a name"),
            ("hosts", "-a.example.org", "no name of a host"),
            ("hosts", "a..b", "no name of a host"),
            ("contact", "mailto:admin@example.org", "write \"admin@example.org\""),
            ("contact", "admin", "no mail address"),
            ("contact", "a b@example.org", "no mail address"),
            ("directory", "http://acme.example.org", "write \"https://acme-v02"),
            ("directory", "https://", "write \"https://acme-v02"),
            ("directory", "", "write \"https://acme-v02"),
        ] {
            let said = wrong(name, bad);
            assert!(said.contains(remedy), "{name} {bad}: {said}");
        }
        assert!(AcmeConfig::wrong("hosts", &Value::from(7)).is_some());
    }
}
