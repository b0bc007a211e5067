//! A user at a server, for one run of a command. The run uses the session that `chatd login` kept. If there is none, it
//! opens a session and ends it again, also after an error.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::pin;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::cli::chat::remote;
use crate::cli::chat::remote::Target;
use crate::cli::chat::servers;
use crate::cli::chat::tokens::Logins;
use crate::cli::output;
use crate::client::link::Link;
use crate::client::{self, RemoteServer};
use crate::model::{LookupName, Password, Token};
use crate::protocol::text::{self, ReplyContext};
use crate::protocol::{Command, Refusal, Reply, Request};

/// How long a login may still take after a signal, and how long the logout at the end may take.
const GRACE: Duration = Duration::from_secs(5);

/// A signal has ended the command.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("ended by signal {0}")]
pub(crate) struct Interrupted(u8);

/// The signals that end a command. They are caught from the moment when the command opens a session.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    fn listen() -> io::Result<EndSignals> {
        Ok(EndSignals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Interrupted {
        let number = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        Interrupted(u8::try_from(number.as_raw_value()).unwrap_or_default())
    }
}

/// A user at a server.
pub(crate) struct RemoteAccount {
    server: RemoteServer,
    target: Target,
    link: Link,
    logins: Logins,
    user: LookupName,
    password: Option<Password>,
    /// The session that this run has opened, and that ends with it.
    opened: Option<Token>,
    signals: Option<EndSignals>,
}

/// Does the work of a command and then ends the session that it opened. The user is the one named, or the one kept with
/// the server, or that of the environment, or the one who logged in last.
pub(crate) fn run(
    target: &Target,
    user: Option<&str>,
    work: impl AsyncFnOnce(&mut RemoteAccount) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut account = RemoteAccount::of(target, user)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let result = work(&mut account).await;
        account.end(result).await
    });
    // A thread may still wait for a full pipe or for a name to be resolved. It ends with the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => match error.downcast_ref() {
            // As a shell has it for a command that a signal ended.
            Some(Interrupted(number)) => Ok(ExitCode::from(128 + number)),
            None => Err(error),
        },
    }
}

/// The user when the command line names none: the one kept with the server, or that of the environment, or the one who
/// logged in last.
fn known_user(target: &Target) -> anyhow::Result<Option<String>> {
    let kept = target.user.clone();
    match kept.map_or_else(remote::user, |user| Ok(Some(user)))? {
        Some(user) => Ok(Some(user)),
        None => Logins::at(&target.address).current_user(),
    }
}

/// The user and the session: the one that was kept, or a new one, which is then kept. Asks the terminal for what is not
/// known.
pub(crate) fn session(target: &Target, kept_as: Option<&str>) -> anyhow::Result<(String, Token)> {
    let user = match known_user(target)? {
        Some(user) => user,
        None => remote::ask_user()?,
    };
    let mut session = None;
    run(target, Some(&user), async |account| {
        session = Some(account.kept_session(kept_as).await?);
        Ok(())
    })?;
    let token = session.context("ended before the login")?;
    Ok((user, token))
}

impl RemoteAccount {
    fn of(target: &Target, user: Option<&str>) -> anyhow::Result<RemoteAccount> {
        let server = target.server()?;
        let logins = Logins::at(&server.address);
        let user = user.map_or_else(|| known_user(target), |user| Ok(Some(user.to_owned())))?;
        let user = user.context("not logged in: `chatd login USER`, or CHATD_USER")?;
        Ok(RemoteAccount {
            link: Link::new(server.clone()),
            server,
            target: target.clone(),
            logins,
            user: LookupName::of(&user),
            password: remote::password()?,
            opened: None,
            signals: None,
        })
    }

    /// The password that the environment has or points to.
    pub(crate) fn password(&self) -> Option<Password> {
        self.password.clone()
    }

    /// Asks with the session that was kept, or in a session of this run where there is none or it has ended.
    pub(crate) async fn ask(
        &mut self,
        say: impl AsyncFn(&mut Link, Token) -> Result<Reply, client::ClientError>,
    ) -> anyhow::Result<Reply> {
        if let Some(token) = self.token()? {
            let RemoteAccount { link, signals, .. } = self;
            match unless_interrupted(signals, say(link, token)).await?? {
                Reply::Refused(Refusal::UnknownToken) => self.forget(token)?,
                reply => return Ok(reply),
            }
        }
        let hint = || format!("{0} is not logged in: `chatd login {0}`, or CHATD_PASSWORD_FILE", self.user);
        let password = self.password.clone().with_context(hint)?;
        let token = self.log_in(password).await?;
        let RemoteAccount { link, signals, .. } = self;
        Ok(unless_interrupted(signals, say(link, token)).await??)
    }

    /// What has come, or comes in time.
    pub(crate) async fn mail(&mut self, patience: Duration) -> anyhow::Result<Reply> {
        self.ask(async |link, token| link.mail(token, patience).await).await
    }

    /// Waits for something, unless a signal ends the command.
    pub(crate) async fn unless_interrupted<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Interrupted> {
        unless_interrupted(&mut self.signals, work).await
    }

    /// The session that was kept, or else a new one. A server that cannot be reached may know the one that was kept.
    async fn kept_session(&mut self, kept_as: Option<&str>) -> anyhow::Result<Token> {
        if let Some(token) = self.token()? {
            match self.link.call(&Command::Show.with(token)).await {
                Ok(Reply::Refused(Refusal::UnknownToken)) => self.forget(token)?,
                _ => return Ok(token),
            }
        }
        let password = match self.password.clone() {
            Some(password) => password,
            None => remote::ask_password(&self.user)?,
        };
        self.log_in_for_good(password, kept_as).await?;
        self.token()?.context("the login was not kept")
    }

    /// Opens a session and keeps it for later runs, instead of the one that was kept before. With a name, the server is
    /// kept, too. Without a name, this user becomes the default.
    pub(crate) async fn log_in_for_good(&mut self, password: Password, kept_as: Option<&str>) -> anyhow::Result<()> {
        self.logins.prepare()?;
        let before = self.logins.token(&self.user)?;
        let token = self.log_in(password).await?;
        self.logins.keep(&self.user, token)?;
        match kept_as {
            Some(name) => servers::keep(name, &self.target.kept(&self.user))?,
            None => self.logins.make_current(&self.user)?,
        }
        self.opened = None;
        if let Some(before) = before {
            // It may have ended long ago.
            self.link.call(&Command::Logout.with(before)).await?;
        }
        Ok(())
    }

    /// Ends the session that was kept.
    pub(crate) async fn log_out(&mut self) -> anyhow::Result<()> {
        let token = self.logins.token(&self.user)?;
        let token = token.with_context(|| format!("{} is not logged in", self.user))?;
        match self.link.call(&Command::Logout.with(token)).await? {
            // The session may have ended before.
            Reply::LoggedOut { .. } | Reply::Refused(Refusal::UnknownToken) => self.logins.forget(&self.user),
            other => bail!("{}", text::render(&ReplyContext::Logout, &other)),
        }
    }

    /// The session for requests. With a password no kept session is needed, so it does not matter then if the file
    /// cannot be read.
    fn token(&self) -> anyhow::Result<Option<Token>> {
        match (self.opened, self.logins.token(&self.user)) {
            (Some(opened), _) => Ok(Some(opened)),
            (None, Err(_)) if self.password.is_some() => Ok(None),
            (None, kept) => kept,
        }
    }

    /// A session has ended: forgets it. With a password it does not matter if the file cannot be removed.
    fn forget(&mut self, token: Token) -> anyhow::Result<()> {
        if self.opened == Some(token) {
            self.opened = None;
            return Ok(());
        }
        match self.logins.forget(&self.user) {
            Err(_) if self.password.is_some() => Ok(()),
            forgotten => forgotten,
        }
    }

    /// Opens a session. From here on signals do not end the process before the session is ended.
    async fn log_in(&mut self, password: Password) -> anyhow::Result<Token> {
        let RemoteAccount { link, signals, user, opened, .. } = self;
        let signals = match signals {
            Some(signals) => signals,
            None => signals.insert(EndSignals::listen()?),
        };
        let request = Request { token: None, command: Command::Auth { username: user.clone(), password } };
        let login = link.call(&request);
        pin!(login);
        let (reply, interrupted) = tokio::select! {
            reply = &mut login => (reply?, None),
            // The server may have opened the session already. With its token it can be ended.
            interrupted = signals.next() => (timeout(GRACE, login).await.map_err(|_| interrupted)??, Some(interrupted)),
        };
        let Reply::LoggedIn { token } = reply else {
            bail!("{user}: {}", text::render(&ReplyContext::Auth(user.to_string()), &reply));
        };
        *opened = Some(token);
        interrupted.map_or(Ok(token), |interrupted| Err(interrupted.into()))
    }

    /// Ends the session that this run has opened. An earlier error is the one that is reported.
    async fn end(mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(token) = self.opened else {
            if result.is_ok() {
                self.link.close().await;
            }
            return result;
        };
        if result.is_err() {
            // Another request on this connection would confirm mail that was not printed.
            self.link = Link::new(self.server);
        }
        let ended = timeout(GRACE, self.link.call(&Command::Logout.with(token))).await;
        if result.is_ok() && !matches!(ended, Ok(Ok(Reply::LoggedOut { .. } | Reply::Refused(Refusal::UnknownToken)))) {
            output::note("chatd: it is done, but the session could not be ended");
        }
        self.link.close().await;
        result
    }
}

async fn unless_interrupted<T>(
    signals: &mut Option<EndSignals>,
    work: impl Future<Output = T>,
) -> Result<T, Interrupted> {
    match signals {
        None => Ok(work.await),
        Some(signals) => tokio::select! {
            done = work => Ok(done),
            interrupted = signals.next() => Err(interrupted),
        },
    }
}
