// Keeps the shell, so that the page opens without the server, and shows what is pushed. Never keeps an answer of the API.
const SHELL = 'chatd-shell';

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(SHELL);
    const answer = await fetch('/', { cache: 'no-cache' });
    if (!answer.ok) throw new Error(`the shell: ${answer.status}`);
    await cache.put('/', answer);
    await self.skipWaiting();
  })());
});

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

/** The page from the server, and if that does not answer, from the cache. */
async function shell(request) {
  const cache = await caches.open(SHELL);
  try {
    const answer = await fetch(request);
    if (answer.ok) {
      const [before, now] = await Promise.all([cache.match('/').then((a) => a?.text()), answer.clone().text()]);
      await cache.put('/', answer.clone());
      if (before !== now) await forget(cache, now);
    }
    return answer;
  } catch (error) {
    const kept = await cache.match('/');
    if (kept) return kept;
    throw error;
  }
}
/** Files of another version than `page` has. */
async function forget(cache, page) {
  for (const request of await cache.keys()) {
    const folder = /^\/a\/[^/]+\//.exec(new URL(request.url).pathname)?.[0];
    if (folder && !page.includes(folder)) await cache.delete(request);
  }
}
/** A file's address has its hash: what is kept is right for ever. */
async function file(request) {
  const cache = await caches.open(SHELL);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone());
  return answer;
}

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== location.origin) return;
  if (url.pathname === '/') event.respondWith(shell(request));
  else if (url.pathname.startsWith('/a/')) event.respondWith(file(request));
});

/** A page tells what it was made of before this worker was there. */
self.addEventListener('message', (event) => {
  const ours = (event.data?.keep ?? []).filter((url) => url.startsWith(location.origin + '/a/'));
  event.waitUntil(Promise.all(ours.map((url) => file(new Request(url)).catch(() => { /* kept when it is asked for again */ }))));
});

self.addEventListener('push', (event) => {
  let data = {};
  try { data = event.data?.json() ?? {}; } catch { /* a push without a text still tells */ }
  const name = data.conversation ?? '';
  // The words of the page are out of reach here.
  const unnamed = /^(id|ms)\b/.test(navigator.language) ? 'Pesan baru' : 'New message';
  event.waitUntil(self.registration.showNotification(data.title || 'chatd', {
    body: data.text ?? unnamed, tag: name, icon: '/a/HASH/icon.png', data: name ? '#/c/' + encodeURIComponent(name) : '',
  }));
});

/** The browser has given itself another address. */
self.addEventListener('pushsubscriptionchange', (event) => {
  event.waitUntil((async () => {
    const options = event.oldSubscription?.options ?? { userVisibleOnly: true };
    const found = event.newSubscription ?? await self.registration.pushManager.subscribe(options);
    const { endpoint, keys } = found.toJSON();
    await fetch('/api/v1/push', { method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ endpoint, p256dh: keys.p256dh, auth: keys.auth }) });
  })());
});

self.addEventListener('notificationclick', (event) => {
  event.notification.close();
  const target = '/' + (event.notification.data ?? '');
  event.waitUntil((async () => {
    const [open] = await self.clients.matchAll({ type: 'window' });
    if (!open) return self.clients.openWindow(target);
    await open.focus();
    open.postMessage({ go: event.notification.data ?? '' });
  })());
});
