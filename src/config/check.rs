//! What the settings must be, each and together.

use std::time::Duration;

use super::{BadConfig, Config, Listen, Metrics, Span, bad};

pub(super) fn check(config: &Config) -> Result<(), BadConfig> {
    let Config { server, password, throttle, limits, delivery, session, log, .. } = config;
    server.allows_plaintext_at("server.listen", server.listen)?;
    for (key, path) in [("server.tls_certificate", &server.tls_certificate), ("server.tls_key", &server.tls_key)] {
        if server.tls_listen != Listen(None) && path.as_os_str().is_empty() {
            return bad(key, format_args!("server.tls_listen wants a certificate and its key"));
        }
    }
    if let Listen(Some(address)) = server.text_listen {
        server.allows_plaintext_at("server.text_listen", address)?;
    }
    if let Listen(Some(address)) = config.metrics.listen {
        Metrics::allows(address)?;
    }
    log.check()?;
    let cost = crate::password::Cost {
        memory_kib: password.memory_kib,
        iterations: password.iterations,
        parallelism: password.parallelism,
    };
    if let Err(why) = crate::password::check(cost) {
        return bad("password", format_args!("argon2 takes no such parameters: {why}"));
    }
    let at_least_one = [
        ("database.tail_messages", config.database.tail_messages as u64),
        ("server.threads", server.threads as u64),
        ("password.threads", password.threads as u64),
        ("password.queue", password.queue as u64),
        ("throttle.buckets", throttle.buckets as u64),
        ("session.per_user", session.per_user as u64),
        ("delivery.reply_bytes", delivery.reply_bytes),
        ("delivery.history_messages", delivery.history_messages as u64),
        ("limits.connections", limits.connections as u64),
        ("limits.connections_per_address", limits.connections_per_address as u64),
        ("limits.unauthenticated_connections", limits.unauthenticated_connections as u64),
        ("limits.inbox_messages", limits.inbox_messages),
        ("limits.inbox_bytes", limits.inbox_bytes),
        ("limits.handshake_timeout", limits.handshake_timeout.0.as_millis() as u64),
        ("limits.write_timeout", limits.write_timeout.0.as_millis() as u64),
        ("session.idle_expiry", session.idle_expiry.0.as_secs()),
    ];
    if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
        return bad(key, format_args!("must not be 0"));
    }
    if delivery.wait_at_most > Span::days(1) {
        return bad("delivery.wait_at_most", format_args!("must not be longer than a day"));
    }
    // Each of the four signs of life that are asked for has a second at least.
    if limits.peer_timeout.0 < Duration::from_secs(8) {
        return bad("limits.peer_timeout", format_args!("must be 8s at least"));
    }
    if limits.line_bytes_without_token < 1024 + 128 {
        return bad(
            "limits.line_bytes_without_token",
            format_args!("a login with a long password would not fit in less than 1152"),
        );
    }
    if limits.line_bytes < limits.line_bytes_without_token || limits.line_bytes > 64 << 20 {
        return bad("limits.line_bytes", format_args!("must lie between limits.line_bytes_without_token and 64 MiB"));
    }
    if u32::try_from(limits.buffered_reply_bytes).is_err() || limits.buffered_reply_bytes < 1 << 16 {
        return bad("limits.buffered_reply_bytes", format_args!("must lie between 64 KiB and 4 GiB"));
    }
    if limits.buffered_bytes < limits.line_bytes {
        return bad("limits.buffered_bytes", format_args!("one line of limits.line_bytes must fit in"));
    }
    Ok(())
}
