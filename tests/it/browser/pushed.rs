//! Told when the page is closed: in Firefox in full, against a push service of the test's own; in Chromium, whose
//! service is Google's, from the subscription to the server and from the delivery to the notification.

use serde_json::json;

use super::driver::Driver;
use super::firefox::Firefox;
use super::push_service::PushService;
use super::{desktop, server, until};
use crate::support::{Folder, Server, address_in};

#[test]
fn firefox_is_told_with_the_page_closed_and_without_the_text_where_that_is_wanted() {
    let service = PushService::start();
    let socket = format!("\"ws://{}/\"", service.address);
    let settings = [
        ("dom.push.serverURL", socket.as_str()),
        ("dom.push.testing.allowInsecureServerURL", "true"),
        ("dom.push.testing.ignorePermission", "true"),
        // Marionette turns it off.
        ("dom.push.connection.enabled", "true"),
        ("permissions.default.desktop-notification", "1"),
        // There is no desktop to show it on.
        ("alerts.useSystemBackend", "false"),
    ];
    let Some(mut firefox) = Firefox::start(&settings) else { return };
    let hosts = format!("[web]\nlisten = \"127.0.0.1:0\"\npush_hosts = [\"http://{}\"]", service.address);
    let folder = Folder::new(&hosts);
    folder.add_three();
    let server = Server::start(&folder);
    let url = format!("http://{}/", address_in(&server.log(), "listening for browsers").expect("web.listen is set"));
    firefox.log_in(&url, "henderson");
    firefox.open(&format!("{url}#/settings"));
    firefox.click("button[role=switch][aria-label='Pemberitahuan']");
    firefox.wait("document.body.innerText.includes('Juga bila halaman ini tertutup')");
    // The page is open: its stream tells.
    firefox.open("about:blank");

    let (mut messi, token) = server.login("messi");
    messi.ask(&format!("send {token} henderson sampai besok di stadion"));
    until(|| service.pushes().len() == 1, "nobody was told");
    let push = service.pushes().remove(0);
    for header in ["ttl: 604800", "urgency: high", "content-encoding: aes128gcm", "authorization: vapid t=", "topic: "]
    {
        assert!(push.head.to_lowercase().contains(header), "{header} is not in {}", push.head);
    }
    assert!(!String::from_utf8_lossy(&push.body).contains("stadion"), "the service can read it");
    firefox.open(&url);
    let shown = "(await (await navigator.serviceWorker.ready).getNotifications()).map((n) => [n.title, n.body, n.tag].join('|'))";
    firefox.wait(&format!("{shown}.includes('Lionel Messi|sampai besok di stadion|messi')"));

    firefox.open(&format!("{url}#/settings"));
    firefox.click("button[role=switch][aria-label='Tampilkan isi pesan dalam pemberitahuan']");
    firefox.wait("document.querySelector('[aria-label^=Tampilkan][role=switch]').ariaChecked === 'false'");
    // What the page says then is of the time before; on a new one it is not.
    firefox.open("about:blank");
    firefox.open(&format!("{url}#/settings"));
    firefox.wait("document.body.innerText.includes('Juga bila halaman ini tertutup')");
    firefox.open("about:blank");
    let (mut lineker, token) = server.login("lineker");
    lineker.ask(&format!("send {token} henderson rahasia"));
    until(|| service.pushes().len() == 2, "nobody was told of the second");
    firefox.open(&url);
    firefox.wait(&format!("{shown}.includes('Gary Lineker|Pesan baru|lineker')"));
}

#[test]
fn chromium_gives_its_subscription_to_the_server_and_shows_what_is_delivered() {
    let Some(driver) = Driver::start() else { return };
    let (server, url) = server();
    let messi = desktop(&driver);
    messi.log_in(&url, "messi");
    messi.cdp(
        "Browser.grantPermissions",
        &json!({ "permissions": ["notifications"], "origin": url.trim_end_matches('/') }),
    );
    messi.wait("Notification.permission === 'granted' && navigator.serviceWorker.controller");
    // Google is not asked: the browser has a subscription at once.
    messi.script(
        "PushManager.prototype.subscribe = async ({ applicationServerKey: key }) => ({ toJSON: () => ({
           endpoint: 'https://fcm.googleapis.com/fcm/send/x', keys: { p256dh: 'BA', auth: 'AA' } }), options: {}, key });
         location.hash = '#/settings';",
    );
    messi.click("button[role=switch][aria-label='Pemberitahuan']");
    messi.see("Juga bila halaman ini tertutup");
    let subscribed = server.with(|world| world.subscriptions.clone());
    let wanted =
        json!({ "endpoint": "https://fcm.googleapis.com/fcm/send/x", "p256dh": "BA", "auth": "AA", "with_text": true });
    assert_eq!(subscribed, [("messi".to_owned(), wanted)]);

    let data = json!({ "conversation": "henderson", "title": "Jordan Henderson", "text": "sampai besok", "unread": 1 });
    messi.cdp("ServiceWorker.enable", &json!({}));
    let origin = url.trim_end_matches('/');
    // The first worker of a new profile.
    let delivery = json!({ "origin": origin, "registrationId": "0", "data": data.to_string() });
    messi.cdp("ServiceWorker.deliverPushMessage", &delivery);
    messi.script(
        "const look = async () => {
           const shown = await (await navigator.serviceWorker.ready).getNotifications();
           window.shown = shown.map((n) => [n.title, n.body, n.tag, n.data].join('|'));
           setTimeout(look, 50);
         };
         look();",
    );
    messi.wait("window.shown?.includes('Jordan Henderson|sampai besok|henderson|#/c/henderson')");
}
