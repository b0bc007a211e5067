//! What a request hears that is not carried out: a status, a code of a closed list, and words for a person.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::protocol::Refusal;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $status:ident $code:literal $message:literal,)*) => {
        /// Why a request was not carried out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// All of them.
            #[cfg(test)]
            pub(super) const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// The status, the code as it is spelled, and what a person reads.
            pub(super) const fn parts(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(ErrorCode::$name => (StatusCode::$status, $code, $message),)*
                }
            }
        }
    };
}

codes! {
    /// The body, the query or the path is not as the route wants it.
    Malformed BAD_REQUEST "malformed" "the request is not as it should be",
    /// Two ways to say who asks.
    TwoCredentials BAD_REQUEST "two_credentials" "show the cookie or a Bearer token, not both",
    /// The route wants JSON.
    WrongType UNSUPPORTED_MEDIA_TYPE "wrong_type" "the body must be JSON, with Content-Type: application/json",
    /// Not the name and password of an account.
    WrongLogin UNAUTHORIZED "wrong_login" "the name or the password is wrong",
    /// Nobody is logged in.
    UnknownToken UNAUTHORIZED "unknown_token" "log in first",
    /// A browser asks in the name of another page.
    CrossOrigin FORBIDDEN "cross_origin" "a page of another origin must not ask this",
    /// The name in Host is not ours.
    UnknownHost FORBIDDEN "unknown_host" "this server has another name: the administrator can add this one to web.hosts",
    /// The login was too long ago for that.
    PasswordWanted FORBIDDEN "password_wanted" "you logged in a while ago: show your password again",
    /// The token was made for something else.
    OutOfScope FORBIDDEN "out_of_scope" "this token is not good for that",
    /// Only an account that may administer may do that.
    NotAnAdministrator FORBIDDEN "not_an_administrator" "only an administrator may do that",
    /// The link that makes the first account was used, is over, or is none.
    SetupClosed FORBIDDEN "setup_closed" "this link is over: `chatd user add` makes accounts",
    /// The code of an invite was used, is over, or is none, or no account is made by one.
    BadInvite FORBIDDEN "bad_invite" "this invite was used or is over: ask for another one",
    /// A password would cross a network in the clear.
    Insecure FORBIDDEN "insecure" "this is done on the server's own machine, or over https",
    /// People are not told who there is.
    DirectoryOff FORBIDDEN "directory_off" "the list of people is off on this server",
    /// There is no such route, or what it names is not there.
    NotFound NOT_FOUND "not_found" "there is nothing here",
    /// No account has this name.
    UnknownUser NOT_FOUND "unknown_user" "nobody has this name",
    /// No group has this name.
    UnknownGroup NOT_FOUND "unknown_group" "there is no group of this name",
    /// Who asks, or who is named, is not in the group.
    NotAMember FORBIDDEN "not_a_member" "only members may do that",
    /// The group has another password, or one at all.
    WrongPassword FORBIDDEN "wrong_password" "this is not the password",
    /// Only the owner may do that.
    NotTheOwner FORBIDDEN "not_the_owner" "only the owner of the group may do that",
    /// An account or a group has the name.
    GroupExists CONFLICT "group_exists" "an account or a group has this name",
    /// Who was to be put into a group is in it.
    AlreadyAMember CONFLICT "already_a_member" "the account is in the group",
    /// The group has as many members as one may have.
    GroupFull CONFLICT "group_full" "the group has as many members as it may have",
    /// The account is in as many groups as one may be.
    TooManyGroups CONFLICT "too_many_groups" "the account is in as many groups as it may be",
    /// The route is not for this method.
    WrongMethod METHOD_NOT_ALLOWED "wrong_method" "this is asked with another method",
    /// An account or a group has the name.
    NameTaken CONFLICT "name_taken" "there is such a name already (names differ in more than case)",
    /// The key is that of a message to somebody else.
    KeyUsed CONFLICT "key_used" "this key was used for another recipient: take a new one",
    /// The body is too long.
    TooLarge PAYLOAD_TOO_LARGE "too_large" "the message is too long",
    /// The body came too slowly.
    TooSlow REQUEST_TIMEOUT "too_slow" "the request came too slowly, send it again",
    /// Too many attempts or messages.
    Throttled TOO_MANY_REQUESTS "throttled" "too many attempts, try again later",
    /// The account has as many connections or streams as one may have.
    TooManyConnections TOO_MANY_REQUESTS "too_many_connections" "too many connections of this account, close one",
    /// The recipient has as many unread messages as one may have.
    InboxFull TOO_MANY_REQUESTS "inbox_full" "the recipient's inbox is full",
    /// The sender has stored as much as one may.
    StoredFull TOO_MANY_REQUESTS "stored_full"
        "you have stored as much as you may, try again when old messages are removed",
    /// The account has as many tokens and hooks as one may have.
    TooManyTokens TOO_MANY_REQUESTS "too_many_tokens" "you have as many tokens as you may: end one",
    /// Too much at once.
    Busy SERVICE_UNAVAILABLE "busy" "the server is busy, try again",
    /// The store did not answer.
    Unavailable SERVICE_UNAVAILABLE "unavailable" "the message store is unavailable, try again later",
}

/// What is said of a request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebError {
    pub code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl From<ErrorCode> for WebError {
    fn from(code: ErrorCode) -> WebError {
        let (status, _, message) = code.parts();
        let retry_after = match status {
            StatusCode::TOO_MANY_REQUESTS => Some(Duration::from_secs(10)),
            StatusCode::SERVICE_UNAVAILABLE => Some(Duration::from_secs(1)),
            _ => None,
        };
        WebError { code, message: message.into(), retry_after }
    }
}

impl ErrorCode {
    /// With other words for the person.
    pub(super) fn because(self, message: impl Into<Cow<'static, str>>) -> WebError {
        WebError { message: message.into(), ..self.into() }
    }
}

impl WebError {
    /// The same where it is one's own password that is asked for: who hears it is logged in still.
    pub(super) fn of_own_password(self) -> WebError {
        match self.code {
            ErrorCode::WrongLogin => ErrorCode::WrongPassword.into(),
            _ => self,
        }
    }
}

impl From<Refusal> for WebError {
    fn from(refusal: Refusal) -> WebError {
        let code = match refusal {
            Refusal::UnknownToken => ErrorCode::UnknownToken,
            Refusal::UnknownUser | Refusal::WrongPassword => ErrorCode::WrongLogin,
            Refusal::UnknownRecipient => ErrorCode::UnknownUser,
            Refusal::InboxFull => ErrorCode::InboxFull,
            Refusal::StoredFull => ErrorCode::StoredFull,
            Refusal::LineTooLong => ErrorCode::TooLarge,
            Refusal::TooSlow => ErrorCode::TooSlow,
            Refusal::TooManyConnections => ErrorCode::TooManyConnections,
            Refusal::Busy => ErrorCode::Busy,
            Refusal::Unavailable => ErrorCode::Unavailable,
            Refusal::Throttled { retry_after } => {
                let message = refusal.words().unwrap_or_default();
                let retry_after = Some(retry_after.max(Duration::from_secs(1)));
                return WebError { retry_after, ..ErrorCode::Throttled.because(message) };
            }
            Refusal::NotAnAdministrator => ErrorCode::NotAnAdministrator,
            Refusal::OutOfScope => ErrorCode::OutOfScope,
            Refusal::PasswordWanted => ErrorCode::PasswordWanted,
            Refusal::TooManyTokens => ErrorCode::TooManyTokens,
            Refusal::UnknownSession => ErrorCode::NotFound,
            Refusal::DirectoryOff => ErrorCode::DirectoryOff,
            Refusal::NoSuchFile => ErrorCode::NotFound,
            Refusal::FileTooLarge { .. } => return ErrorCode::TooLarge.because(refusal.words().unwrap_or_default()),
            Refusal::BadNewPassword(_) | Refusal::BadDisplayName(_) | Refusal::BadAccount(_) => {
                return ErrorCode::Malformed.because(refusal.words().unwrap_or_default());
            }
            Refusal::GroupExists => ErrorCode::GroupExists,
            Refusal::BadGroupName => return ErrorCode::Malformed.because(refusal.words().unwrap_or_default()),
            Refusal::UnknownGroup => ErrorCode::UnknownGroup,
            Refusal::AlreadyAMember => ErrorCode::AlreadyAMember,
            Refusal::NotAMember => ErrorCode::NotAMember,
            Refusal::NotTheOwner => ErrorCode::NotTheOwner,
            Refusal::BadInvite => ErrorCode::BadInvite,
            Refusal::KeyUsed => ErrorCode::KeyUsed,
            Refusal::UserExists => ErrorCode::NameTaken,
            Refusal::NotPrivate => ErrorCode::Insecure,
            Refusal::GroupFull => ErrorCode::GroupFull,
            Refusal::TooManyGroups => ErrorCode::TooManyGroups,
            Refusal::UnknownCommand
            | Refusal::Http
            | Refusal::Malformed
            | Refusal::BadKey
            | Refusal::NotANumber(_)
            | Refusal::WantsTls
            | Refusal::NoTls => ErrorCode::Malformed,
        };
        code.into()
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let (status, code, _) = self.code.parts();
        let body = json!({ "error": code, "message": self.message }).to_string();
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(after) = self.retry_after {
            // A part of a second is rounded up, so that who waits as long as told is not told to wait again.
            let seconds = after.as_millis().div_ceil(1000);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for ErrorCode {
    fn into_response(self) -> Response {
        WebError::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_document() {
        let document = include_str!("../../../docs/HTTP.md");
        for code in ErrorCode::ALL {
            let (status, spelled, _) = code.parts();
            let row = format!("| {} | `{spelled}` |", status.as_u16());
            assert!(document.contains(&row), "docs/HTTP.md has no row {row}");
        }
    }

    #[test]
    fn who_waits_as_long_as_told_is_not_told_to_wait_again() {
        let refusal = Refusal::Throttled { retry_after: Duration::from_millis(2100) };
        let response = WebError::from(refusal).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }
}
