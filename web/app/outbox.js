// What was sent and is not stored by the server yet: in IndexedDB, each with a key, so that a retry is stored once. One tab
// at a time sends texts (the lock `chatd-outbox`), in order, and one sends files, so that no text waits for a long file.
import * as api from './api.js';
import { effect, signal } from '../vendor/preact.js';
import { line, me, recall, unsent } from './state.js';
import { stop, upload } from './upload.js';

const channel = new BroadcastChannel('chatd-outbox');
/** The conversations whose recipient has a full inbox. @type {import('../vendor/preact.js').Signal<Set<string>>} */
export const held = signal(new Set());
/** How much of each file is on the server, of 1, by key. @type {import('../vendor/preact.js').Signal<Map<string, number>>} */
export const progress = signal(new Map());
/** @type {(m: import('./state.js').Message) => void} */
let arrived = () => {};
/** @type {(error: any) => boolean} */
let refusedSession = () => false;

// ---- the table ----

/** @type {Promise<IDBDatabase>} */
const database = new Promise((done, fail) => {
  const request = indexedDB.open('chatd', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('outbox', { keyPath: 'n', autoIncrement: true });
  request.onsuccess = () => done(request.result);
  request.onerror = () => fail(request.error);
});
database.catch(() => {});
/**
 * @template T
 * @param {IDBTransactionMode} mode @param {(table: IDBObjectStore) => IDBRequest<T>} work
 * @returns {Promise<T>} when it is durable
 */
async function table(mode, work) {
  const transaction = (await database).transaction('outbox', mode, { durability: 'strict' });
  const request = work(transaction.objectStore('outbox'));
  return new Promise((done, fail) => {
    transaction.oncomplete = () => done(request.result);
    transaction.onabort = transaction.onerror = () => fail(transaction.error);
  });
}
/** @returns {Promise<import('./state.js').Unsent[]>} */
async function mine() {
  const all = await table('readonly', (outbox) => outbox.getAll());
  return all.filter((item) => item.account === me.value?.name);
}
async function reload() {
  try { unsent.value = await mine(); } catch { /* what is in memory stays */ }
}
async function changed() {
  await reload();
  channel.postMessage('changed');
}
channel.onmessage = reload;

// ---- put in, take out ----

/**
 * Keeps a text, or a file, until the server has it. Throws where the browser cannot keep it: then it stays where it was.
 * @param {string} conversation @param {string} text @param {File} [file]
 */
export async function put(conversation, text, file) {
  const item = { key: crypto.randomUUID(), account: me.value?.name ?? '', conversation, text, time: Date.now(), file };
  await table('readwrite', (outbox) => outbox.add(item));
  await changed();
  drain();
}
/** @param {import('./state.js').Unsent} item */
export async function drop(item) {
  await table('readwrite', (outbox) => outbox.delete(item.n));
  stop(item.key);
  await changed();
}
/** Sends a refused one again. @param {import('./state.js').Unsent} item */
export async function again(item) {
  const { refused, ...fresh } = item;
  await table('readwrite', (outbox) => outbox.put(fresh));
  await changed();
  drain();
}
/** The server has told of the message with this key. @param {string} key */
export async function stored(key) {
  const item = unsent.value.find((i) => i.key === key);
  if (!item) return;
  unsent.value = unsent.value.filter((i) => i !== item);
  try { await table('readwrite', (outbox) => outbox.delete(item.n)); } catch { /* the key makes a retry harmless */ }
}
/** Forgets all of this account: its person logs out. */
export async function clear() {
  for (const item of await mine()) await table('readwrite', (outbox) => outbox.delete(item.n));
  await changed();
}

// ---- sending ----

/** @param {() => Promise<unknown>} work  no text is sent meanwhile */
export const alone = (work) => navigator.locks.request('chatd-outbox', work);

/** Its person took it back. @param {import('./state.js').Unsent} item */
const isGone = async (item) => await table('readonly', (outbox) => outbox.count(item.n)) === 0;

/** @typedef {{id: number, time: number, file?: import('./state.js').SentFile}} Stored */
/** @param {import('./state.js').Unsent} item @returns {Promise<Stored>} */
const sendText = (item) => api.send(item.conversation, item.text, item.key);
/** @param {import('./state.js').Unsent} item @returns {Promise<Stored>} */
async function sendFile(item) {
  /** @param {number | undefined} part */
  const tell = (part) => {
    const map = new Map(progress.value);
    if (part === undefined) map.delete(item.key); else map.set(item.key, part);
    progress.value = map;
  };
  try { return await upload(item, tell); } finally { tell(undefined); }
}

/**
 * Sends one kind of what waits, in order.
 * @param {string} lock @param {boolean} files @param {(item: import('./state.js').Unsent) => Promise<Stored>} send
 */
function sender(lock, files, send) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let tries = 0;
  let draining = false;
  /** Something came while it was sent. */
  let more = false;
  /** Full inboxes, by conversation: what else goes there has to wait, so that the order stays. */
  const full = new Map();
  async function sendAll() {
    full.clear();
    for (const item of (await mine()).filter((i) => !i.refused && Boolean(i.file) === files)) {
      if (full.has(item.conversation) || await isGone(item)) continue;
      // The cookie is all tabs' own: another account may have logged in meanwhile.
      if (recall('account') !== item.account) return;
      try {
        const { id, time, file } = await send(item);
        await table('readwrite', (outbox) => outbox.delete(item.n));
        const { conversation, text, account, key } = item;
        unsent.value = unsent.value.filter((i) => i.key !== key);
        arrived({ id, time, conversation, text, from: account, key, file });
      } catch (e) {
        if (e instanceof api.Refused && e.code === 'inbox_full') {
          full.set(item.conversation, e);
          continue;
        }
        if (await isGone(item)) continue;
        if (!(e instanceof api.Refused) || e.passing || e.status === 401) throw e;
        await table('readwrite', (outbox) => outbox.put({ ...item, refused: e.code }));
      }
      await changed();
    }
    for (const refusal of full.values()) throw refusal;
  }
  /** Sends what waits. */
  async function drain() {
    if (draining) more = true;
    if (draining || !me.peek()) return;
    draining = true;
    more = false;
    clearTimeout(timer);
    try {
      await navigator.locks.request(lock, sendAll);
      tries = 0;
    } catch (e) {
      if (refusedSession(e)) more = false;
      const after = e instanceof api.Refused ? e.after * 1000 : 0;
      const most = Math.max(after, Math.min(30_000, 1_000 * 2 ** tries++));
      timer = setTimeout(drain, most + Math.random() * most / 2);
    } finally {
      draining = false;
      held.value = new Set(senders.flatMap((one) => [...one.full.keys()]));
    }
    if (more && tries === 0) drain();
  }
  return { drain, full };
}
const senders = [sender('chatd-outbox', false, sendText), sender('chatd-outbox-files', true, sendFile)];
/** Sends what waits. */
export const drain = () => senders.forEach((one) => { one.drain(); });

let begun = false;
/**
 * @param {(m: import('./state.js').Message) => void} sent  of what was stored
 * @param {(error: any) => boolean} heardEnd  whether the error says that nobody is logged in
 */
export function begin(sent, heardEnd) {
  arrived = sent;
  refusedSession = heardEnd;
  reload().then(drain);
  if (begun) return;
  begun = true;
  addEventListener('online', drain);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) drain(); });
  effect(() => { if (line.value === 'open') drain(); });
}
