//! A hook: who knows its address sends a text to one recipient, in the shape in which Slack takes them, or as it is.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::WebState;
use super::asker::WebPeer;
use super::body::{PathPart, whole_body};
use super::error::{ErrorCode, WebError};
use super::shares::WebSender;
use crate::charge::Holder;
use crate::model::HookSecret;
use crate::protocol::Refusal;

pub(super) async fn hook(
    State(state): State<Arc<WebState>>,
    PathPart(secret): PathPart,
    from: WebPeer,
    request: Request,
) -> Result<Response, WebError> {
    let secret = HookSecret::parse(&secret).ok_or(ErrorCode::NotFound)?;
    let hook = state.service.hook(secret).await.map_err(|refusal| match refusal {
        Refusal::UnknownToken => ErrorCode::NotFound.into(),
        other => WebError::from(other),
    })?;
    // What the body takes is charged to whose the hook is.
    let holder = Holder { session: hook.id, user: hook.user.id };
    from.connection.authenticate(holder).map_err(|_| WebError::from(ErrorCode::TooManyConnections))?;
    // Before the body: to read it is work, too.
    state.sends.allow(WebSender { user: hook.user.id, is_program: true })?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_form = kind.split(';').next().is_some_and(|kind| kind.trim() == "application/x-www-form-urlencoded");
    let body = whole_body(request).await?;
    let body = std::str::from_utf8(&body).map_err(|_| ErrorCode::Malformed.because("the body is not UTF-8"))?;
    let text = text_of(body, is_form).map_err(|why| ErrorCode::Malformed.because(why))?;
    state.service.send_by_hook(&hook, text).await?;
    // Alertmanager takes nothing else for an answer.
    Ok("ok".into_response())
}

#[derive(Deserialize)]
struct FormBody {
    payload: String,
}

/// The text that a body is, or has in it.
fn text_of(body: &str, is_form: bool) -> Result<String, &'static str> {
    let payload = is_form.then(|| serde_urlencoded::from_str::<FormBody>(body).ok()).flatten();
    let body = payload.as_ref().map_or(body, |form| &form.payload);
    if !body.trim_start().starts_with('{') {
        return if body.trim().is_empty() { Err("the body is empty") } else { Ok(body.to_owned()) };
    }
    let object: Value = serde_json::from_str(body).map_err(|_| "the body begins like JSON and is none")?;
    let parts = match [slack_parts(&object), titled(&object), alerts(&object)].into_iter().find(|of| !of.is_empty()) {
        Some(parts) => parts,
        None => return Err("there is no text in it: text, attachments, title, message or alerts"),
    };
    Ok(parts.join("\n"))
}

/// A text under a key, if there is more than blanks.
fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], |list| list)
}

/// What Slack shows of it.
fn slack_parts(object: &Value) -> Vec<String> {
    let mut parts: Vec<String> = text(object, "text").map(plain).into_iter().collect();
    for attachment in list(object, "attachments") {
        let before = parts.len();
        for key in ["pretext", "title", "title_link", "text"] {
            parts.extend(text(attachment, key).map(plain));
        }
        for field in list(attachment, "fields") {
            let (title, value) = (text(field, "title").unwrap_or_default(), text(field, "value").unwrap_or_default());
            parts.push(plain(&format!("{title}: {value}")));
        }
        if parts.len() == before {
            parts.extend(text(attachment, "fallback").map(plain));
        }
    }
    parts
}

/// A title and a message, as Grafana and others have them.
fn titled(object: &Value) -> Vec<String> {
    ["title", "message"].into_iter().filter_map(|key| text(object, key)).map(str::to_owned).collect()
}

/// The alerts of Alertmanager's own webhook, a line each.
fn alerts(object: &Value) -> Vec<String> {
    let line = |alert: &Value| {
        let (labels, notes) = (alert.get("labels")?, alert.get("annotations").unwrap_or(&Value::Null));
        let status = text(alert, "status").unwrap_or("firing").to_uppercase();
        let what = ["alertname", "instance"].into_iter().filter_map(|key| text(labels, key)).collect::<Vec<_>>();
        let said = ["summary", "description", "message"].into_iter().find_map(|key| text(notes, key));
        Some(format!("[{status}] {}{}", what.join(" "), said.map(|said| format!(": {said}")).unwrap_or_default()))
    };
    list(object, "alerts").iter().filter_map(line).collect()
}

/// A text without Slack's marks: links are `<URL|WORDS>`, and three characters are escaped.
fn plain(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('<') {
        let Some((inside, after)) = after.split_once('>') else {
            // No later link ends, either: to look for each end would take the square of the text's length.
            break;
        };
        out.push_str(before);
        let (target, words) = inside.split_once('|').unwrap_or((inside, ""));
        match words {
            "" => out.push_str(target.trim_start_matches(['!', '@', '#'])),
            words if words == target => out.push_str(target),
            words => out.push_str(&format!("{words} ({target})")),
        }
        rest = after;
    }
    out.push_str(rest);
    out.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_text_is_made_plain_in_a_time_that_grows_as_its_length() {
        for part in ["<", "<a|b", "<|", ">", "<>", "&lt;", "&"] {
            let (text, begun) = (part.repeat(1 << 20), Instant::now());
            plain(&text);
            // The square of it takes twenty seconds and more.
            assert!(begun.elapsed() < Duration::from_secs(5), "{part}: {:?}", begun.elapsed());
        }
        let text = format!("<{}", "|!".repeat(1 << 20));
        assert_eq!(plain(&text), text);
    }

    #[test]
    fn a_text_is_found_in_whatever_shape_it_comes() {
        for (body, is_form, wanted) in [
            ("halo", false, "halo"),
            ("halo=apa&kabar", true, "halo=apa&kabar"),
            ("payload=%7B%22text%22%3A%22halo+lagi%22%7D", true, "halo lagi"),
            (
                r#"{"text": "a &lt;b&gt; &amp;amp; <https://x.example/?a=1|here> <!channel>"}"#,
                false,
                "a <b> &amp; here (https://x.example/?a=1) channel",
            ),
            (r#"{"text": "x", "attachments": [{"title": "t", "text": "y", "fallback": "z"}]}"#, false, "x\nt\ny"),
            (r#"{"attachments": [{"fallback": "z", "fields": []}]}"#, false, "z"),
            (r#"{"attachments": [{"fields": [{"title": "a", "value": "b"}]}]}"#, false, "a: b"),
            (r#"{"title": "t", "message": "m <not a link>"}"#, false, "t\nm <not a link>"),
            (r#"{"text": "open < and no end"}"#, false, "open < and no end"),
        ] {
            assert_eq!(text_of(body, is_form).as_deref(), Ok(wanted), "{body}");
        }
        for bad in ["", "  ", "{", r#"{"text": 7}"#, r#"{"text": " "}"#, r#"{"attachments": 1, "alerts": [1]}"#] {
            assert!(text_of(bad, false).is_err(), "{bad}");
        }
    }
}
