// What arrives, from the stream or as an answer, becomes state. All tabs do this; one of them has the stream (stream.js).
import { batch, effect } from '../vendor/preact.js';
import * as api from './api.js';
import * as outbox from './outbox.js';
import * as stream from './stream.js';
import {
  WINDOW, changeConversation, conversations, ended, fileBytes, forgetAll, forgetParts, go, groups, loaded, me, moreBefore, online,
  outdated, part, recall, remember, route, setting, totalUnread,
} from './state.js';
import { oneLine } from './text.js';

const PAGE = 50;
/** The version that the server had when this page came. */
let version = '';
/** What the server has not yet heard of: conversation and the last message read. @type {Map<string, number>} */
const readLater = new Map();

/** @param {import('./api.js').Refused | any} error  true: nobody is logged in, and the page says so */
export function heardEnd(error) {
  if (error?.status !== 401) return false;
  leave(true);
  return true;
}
/** The session is over. @param {boolean} unasked */
export function leave(unasked) {
  stream.stop();
  batch(() => {
    ended.value = unasked;
    me.value = null;
    forgetAll();
  });
  remember('account', null);
}
/** @param {import('./state.js').Person} person */
export function enter(person) {
  remember('account', person.name);
  remember('display', person.display);
  batch(() => {
    ended.value = false;
    me.value = person;
  });
}

// ---- the list ----

/** @param {import('./state.js').Conversation[]} list @param {boolean} whole  takes the place of what is there */
function putConversations(list, whole) {
  const map = whole ? new Map() : new Map(conversations.value);
  for (const c of list) {
    const read = Math.max(c.read, readLater.get(c.name) ?? 0);
    map.set(c.name, read > c.read && read >= (c.newest?.id ?? 0) ? { ...c, read, unread: 0 } : c);
    stream.seen(c.newest?.id ?? 0);
  }
  conversations.value = map;
}
let asking = false;
/** Asks for the list anew. Asked for twice at a time, it is asked for once. */
export async function refresh() {
  if (asking) return;
  asking = true;
  try {
    const { list, next } = await api.conversations();
    batch(() => {
      putConversations(list, true);
      moreBefore.value = next;
      loaded.value = true;
    });
    await refreshGroups();
  } catch (e) {
    heardEnd(e);
  } finally {
    asking = false;
    for (const [name, data] of meanwhile.splice(0)) on[name]?.(data);
  }
}
export async function refreshGroups() {
  groups.value = new Map((await api.groups()).map((group) => [group.name, group]));
}
/** Events that came while the list was asked for: the list may be older than they are. @type {[string, any][]} */
const meanwhile = [];
/** @param {string} name @param {any} data */
function heard(name, data) {
  if (asking) meanwhile.push([name, data]);
  else on[name]?.(data);
}
export async function moreConversations() {
  if (moreBefore.value === null) return;
  try {
    const { list, next } = await api.conversations(moreBefore.value);
    batch(() => {
      putConversations(list, false);
      moreBefore.value = next;
    });
  } catch (e) { heardEnd(e); }
}

// ---- messages of one conversation ----

/** @param {string} name @param {'first' | 'older' | 'newer'} which */
export async function load(name, which) {
  const here = part(name);
  const { list, loading } = here.value;
  if (which !== 'first' && (loading === 'older' || loading === 'newer' || list.length === 0)) return;
  here.value = { ...here.value, loading: which };
  const range = { before: which === 'older' ? list[0].id : undefined,
    after: which === 'newer' ? list[list.length - 1].id : undefined, limit: which === 'first' ? firstPage(name) : PAGE };
  try {
    const page = await api.messages(name, range);
    here.value = joined(here.value, page, which);
  } catch (e) {
    if (heardEnd(e)) return;
    // A conversation with nobody yet, or with who does not exist: sending will tell.
    const empty = e instanceof api.Refused && e.status === 404;
    here.value = { ...here.value, loading: empty ? '' : 'failed' };
  }
}
/** All that is unread, and some before it, so that the line above the new ones is there. @param {string} name */
const firstPage = (name) => Math.min(WINDOW, Math.max(PAGE, (conversations.value.get(name)?.unread ?? 0) + 10));
/**
 * The part with a page more; what is too much goes from the other end.
 * @param {import('./state.js').Part} old @param {import('./state.js').Message[]} page @param {string} which
 * @returns {import('./state.js').Part}
 */
function joined(old, page, which) {
  const full = page.length >= PAGE;
  if (which === 'first') {
    const last = page.length ? page[page.length - 1].id : 0;
    const since = old.newer ? [] : old.list.filter((m) => m.id > last);
    return { list: [...page, ...since], older: full, newer: false, loading: '' };
  }
  if (which === 'older') {
    const list = [...page, ...old.list];
    return { list: list.slice(0, WINDOW), older: full, newer: old.newer || list.length > WINDOW, loading: '' };
  }
  const last = old.list[old.list.length - 1].id;
  const list = [...old.list, ...page.filter((m) => m.id > last)];
  return { list: list.slice(-WINDOW), older: old.older || list.length > WINDOW, newer: full, loading: '' };
}

/** Whether the person looks at the end of the conversation that is open; the view keeps it. */
export const atEnd = { value: true };

/** A message that was sent or has arrived. @param {import('./state.js').Message} m */
export function arrived(m) {
  const name = m.conversation;
  batch(() => {
    const conversation = conversations.value.get(name);
    if (!conversation) refresh();
    if (m.id > (conversation?.newest?.id ?? 0)) {
      const foreign = m.from !== me.value?.name && m.id > (conversation?.read ?? 0);
      changeConversation(name, { newest: m, unread: (conversation?.unread ?? 0) + (foreign ? 1 : 0) });
    }
    const here = part(name);
    const { list, newer, loading } = here.value;
    if (loading === 'first' && list.length === 0 && route.value.name !== name) return;
    if (newer || m.id <= (list[list.length - 1]?.id ?? 0)) return;
    const reading = list.length >= WINDOW && route.value.name === name && !atEnd.value;
    if (reading) here.value = { ...here.value, newer: true };
    else here.value = { ...here.value, list: [...list, m].slice(-WINDOW), older: here.value.older || list.length >= WINDOW };
  });
}

// ---- read marks ----

/** All up to `upto` was seen. @param {string} name @param {number} upto */
export function markRead(name, upto) {
  const conversation = conversations.value.get(name);
  if (!conversation || upto <= conversation.read) return;
  changeConversation(name, { read: upto, unread: unreadAfter(conversation, upto) });
  readLater.set(name, upto);
  tellRead();
}
/** @param {import('./state.js').Conversation} conversation @param {number} upto */
function unreadAfter(conversation, upto) {
  if (upto >= (conversation.newest?.id ?? 0)) return 0;
  const { list, newer } = part(conversation.name).value;
  if (newer || !list.length) return conversation.unread;
  return list.filter((m) => m.id > upto && m.from !== me.value?.name).length;
}
let telling = false;
async function tellRead() {
  if (telling) return;
  telling = true;
  try {
    for (const [name, upto] of readLater) {
      await api.read(name, upto);
      if (readLater.get(name) === upto) readLater.delete(name);
    }
  } catch (e) {
    if (!heardEnd(e) && e instanceof api.Refused && !e.passing) readLater.clear();
  } finally {
    telling = false;
  }
}

// ---- events of the stream ----

/** @type {Record<string, (data: any) => void>} */
const on = {
  hello(data) {
    if (version && data.version !== version) outdated.value = true;
    fileBytes.value = data.file_bytes ?? -1;
    version = data.version;
    if (data.conversations) batch(() => {
      const list = data.conversations.map(api.toConversation);
      putConversations(list, false);
      loaded.value = true;
      // Somebody may have put us into a group since the list of groups came.
      if (list.some((/** @type {any} */ c) => c.group && !groups.value.has(c.name))) refreshGroups().catch(heardEnd);
    });
    // The tab that has the line knows of more than this one, so some messages were not heard here.
    if (data.after > stream.known()) on.reset(null);
    tellRead();
    outbox.drain();
  },
  message(data) {
    const m = api.toMessage(data);
    if (m.key) outbox.stored(m.key);
    arrived(m);
    if (m.from !== me.value?.name) import('./bell.js').then((bell) => bell.ring(m));
  },
  read({ conversation, by, upto }) {
    const old = conversations.value.get(conversation);
    if (!old) return;
    if (by !== me.value?.name) changeConversation(conversation, { theirs: Math.max(old.theirs, upto) });
    else if (upto > old.read) {
      changeConversation(conversation, { read: upto, unread: unreadAfter(old, upto) });
      if (upto < (old.newest?.id ?? 0)) refresh();
    }
  },
  presence({ name, online: is }) {
    const set = new Set(online.value);
    if (is) set.add(name); else set.delete(name);
    online.value = set;
  },
  ended() { leave(true); },
  reset() {
    const open = route.value.view === 'chat' ? route.value.name : undefined;
    forgetParts(open);
    refresh();
    if (open) load(open, 'first');
  },
};

// ---- the begin ----

let titled = false;
/** Loads the list and opens the stream for who is logged in. */
export async function live() {
  if (!me.value) return;
  stream.listen(heard);
  outbox.begin(arrived, heardEnd);
  if (!titled) {
    titled = true;
    effect(title);
  }
  try {
    const person = await api.whoAmI();
    if (person.name !== recall('account') || person.display !== me.value?.display) enter(person);
  } catch (e) {
    if (heardEnd(e)) return;
  }
  // The list tells from which message on the stream is wanted.
  await refresh();
  if (!me.value) return;
  stream.start();
  installWorker();
  // The session may be another one than that which asked to be told.
  if (setting.notify.value === 'on' && window.Notification?.permission === 'granted') {
    import('./push.js').then((push) => push.subscribe()).catch(() => { /* told while the page is open */ });
  }
}

/** The service worker keeps the shell. Its address is the one URL that may become a script. */
function installWorker() {
  const types = /** @type {any} */ (window).trustedTypes;
  const worker = navigator.serviceWorker;
  if (!worker || workerIsThere) return;
  workerIsThere = true;
  /** @param {string} url */
  const createScriptURL = (url) => {
    if (url !== '/sw.js') throw new TypeError('no script of ours: ' + url);
    return url;
  };
  const policy = types?.createPolicy('chatd', { createScriptURL }) ?? { createScriptURL };
  worker.register(policy.createScriptURL('/sw.js')).catch(() => { /* the page works without it */ });
  // What was loaded before the worker was there, or is on its way now, does not go through it.
  worker.oncontrollerchange = () => new PerformanceObserver((list) => {
    const keep = list.getEntries().map((entry) => entry.name).filter((url) => url.startsWith(`${location.origin}/a/`));
    if (keep.length) worker.controller?.postMessage({ keep });
  }).observe({ type: 'resource', buffered: true });
  worker.onmessage = ({ data }) => { if (data.go) go(data.go); };
}
let workerIsThere = false;

function title() {
  const open = route.value.view === 'chat' ? conversations.value.get(route.value.name)?.display ?? route.value.name : '';
  const count = totalUnread.value ? `(${totalUnread.value}) ` : '';
  document.title = count + (open ? oneLine(open) + ' – ' : '') + 'chatd';
}

