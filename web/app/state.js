// What the page knows: signals, and nothing that asks the server. Every view reads from here.
import { batch, computed, effect, signal } from '../vendor/preact.js';

/**
 * @typedef {object} Message
 * @property {number} id  in the order in which the server accepted them; 0 while it is not stored
 * @property {number} time  milliseconds since 1970
 * @property {string} conversation  who the conversation is with
 * @property {string} from  user name
 * @property {string} [display]  the sender's display name
 * @property {string} text
 * @property {string} [key]  of the send
 * @property {SentFile} [file]  that it brings
 * @property {number} [readBy]  how many of a group have read it, as far as that was asked
 * @property {number} [of]  of how many
 */
/** @typedef {{id: number, name: string, type: string, bytes: number}} SentFile */
/** @typedef {{name: string, display: string, owner: string, mine: boolean, members: number}} Group */
/**
 * @typedef {object} Conversation
 * @property {string} name
 * @property {string} display
 * @property {boolean} group
 * @property {Message | null} newest
 * @property {number} unread
 * @property {number} read  the last message that I have read
 * @property {number} theirs  the last message that the other one has read
 */
/**
 * A part of a conversation without gaps, at most `WINDOW` messages.
 * @typedef {object} Part
 * @property {Message[]} list
 * @property {boolean} older  there are messages before it
 * @property {boolean} newer  there are messages after it
 * @property {'' | 'first' | 'older' | 'newer' | 'failed'} loading
 */
/**
 * @typedef {{n: number, key: string, account: string, conversation: string, text: string, time: number, refused?: string,
 *   file?: File}} Unsent
 */
/** @typedef {{name: string, display: string}} Person */

/** The most messages that are shown, and kept, of one conversation. */
export const WINDOW = 200;

// ---- what is remembered in this browser ----

/** @param {string} key @param {string} otherwise */
export function recall(key, otherwise = '') {
  try { return localStorage.getItem('chatd.' + key) ?? otherwise; } catch { return otherwise; }
}
/** @param {string} key @param {string | null} value  null forgets */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem('chatd.' + key); else localStorage.setItem('chatd.' + key, value);
    return true;
  } catch { return false; }
}

export const LANGUAGES = { id: 'Bahasa Indonesia', en: 'English' };
const theirs = (navigator.languages || []).map((l) => l.slice(0, 2)).find((l) => l in LANGUAGES || l === 'ms');
export const setting = {
  lang: signal(recall('lang') in LANGUAGES ? recall('lang') : theirs === 'ms' ? 'id' : theirs || 'en'),
  theme: signal(recall('theme', 'auto')),
  sound: signal(recall('sound', 'on')),
  notify: signal(recall('notify', 'off')),
  preview: signal(recall('preview', 'on')),
};
/** @param {keyof typeof setting} name @param {string} value */
export function choose(name, value) {
  setting[name].value = value;
  remember(name, value);
}
addEventListener('storage', (e) => {
  const name = /** @type {keyof typeof setting} */ (e.key?.replace('chatd.', ''));
  if (name in setting && e.newValue !== null) setting[name].value = e.newValue;
  // Another tab has logged in or out: the cookie is this tab's, too.
  if (e.key === 'chatd.account') location.reload();
});

// ---- words ----

/** @type {import('../vendor/preact.js').Signal<Record<string, string>>} */
const words = signal({});
let innerWanted = false;
/** The words of the language that was chosen are loaded before anything is drawn. */
export async function loadWords() {
  const lang = setting.lang.value;
  const loaded = await Promise.all([import(`../lang/${lang}.js`), innerWanted ? import(`../lang/${lang}.inner.js`) : {}]);
  if (lang === setting.lang.value) {
    words.value = Object.assign({}, ...loaded.map((module) => module.default));
    document.documentElement.lang = lang;
  }
}
/** The words of what is inside the frame come with its code. */
export function loadInnerWords() {
  innerWanted = true;
  return loadWords();
}
/**
 * The text in the language that was chosen. A number `n` that is 1 takes `KEY_1`, where there is one.
 * @param {string} key @param {Record<string, string | number>} [fill]
 */
export function t(key, fill) {
  const dictionary = words.value;
  const text = (fill?.n === 1 && dictionary[key + '_1']) || dictionary[key];
  if (text === undefined) return key;
  return fill ? text.replace(/\{(\w+)\}/g, (whole, name) => String(fill[name] ?? whole)) : text;
}

effect(() => {
  const theme = setting.theme.value;
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
});

// ---- who, where, and what is open ----

/** Who is logged in. null: nobody, undefined: not known yet. @type {import('../vendor/preact.js').Signal<Person | null | undefined>} */
export const me = signal(recall('account') ? { name: recall('account'), display: recall('display', recall('account')) } : null);
/** Why the login screen is there: the session has ended. */
export const ended = signal(false);
/** The line to the server. @type {import('../vendor/preact.js').Signal<'new' | 'open' | 'lost'>} */
export const line = signal('new');
/** The server has another version than this page. */
export const outdated = signal(false);

/** @typedef {{view: 'list' | 'chat' | 'find' | 'settings' | 'group' | 'newgroup', name: string}} Route */
/** @returns {Route} */
function parseRoute() {
  const [, view, name = ''] = /^#\/(c|find|settings|group|newgroup)(?:\/(.*))?$/.exec(location.hash) || [];
  let decoded = '';
  try { decoded = decodeURIComponent(name); } catch { return { view: 'list', name: '' }; }
  if (view === 'c') return decoded ? { view: 'chat', name: decoded } : { view: 'list', name: '' };
  if (view === 'find' || view === 'settings' || view === 'newgroup') return { view, name: decoded };
  if (view === 'group' && decoded) return { view, name: decoded };
  return { view: 'list', name: '' };
}
/** @type {import('../vendor/preact.js').Signal<Route>} */
export const route = signal(parseRoute());
addEventListener('hashchange', () => { route.value = parseRoute(); });
/** @param {string} name */
export const chatHref = (name) => '#/c/' + encodeURIComponent(name);
/** How many screens were opened on this page, so that Back does not leave it. */
let depth = 0;
/** @param {string} hash @param {boolean} [instead]  takes the place of this screen */
export function go(hash, instead = false) {
  if (instead) {
    history.replaceState(null, '', hash || '#/');
    route.value = parseRoute();
  } else if (location.hash !== hash) {
    depth++;
    location.hash = hash;
  }
}
/** To the screen before, or to the list if there is none. */
export function back() {
  if (depth > 0) { depth--; history.back(); } else go('#/', true);
}

const phone = matchMedia('(max-width: 719px)');
export const narrow = signal(phone.matches);
phone.addEventListener('change', () => { narrow.value = phone.matches; });
/** This window has the keyboard. */
export const focused = signal(document.hasFocus());
for (const name of ['focus', 'blur']) addEventListener(name, () => { focused.value = name === 'focus'; });
document.addEventListener('visibilitychange', () => { focused.value = document.hasFocus() && !document.hidden; });

// ---- conversations and messages ----

/** @type {import('../vendor/preact.js').Signal<Map<string, Conversation>>} */
export const conversations = signal(new Map());
/** The list is here. */
export const loaded = signal(false);
/** Where the next page of the list begins, null at its end. @type {import('../vendor/preact.js').Signal<string | number | null>} */
export const moreBefore = signal(null);
/** Who is logged in now. @type {import('../vendor/preact.js').Signal<Set<string>>} */
export const online = signal(new Set());
/** @type {import('../vendor/preact.js').Signal<Unsent[]>} */
export const unsent = signal([]);
/** The groups that I am in. @type {import('../vendor/preact.js').Signal<Map<string, Group>>} */
export const groups = signal(new Map());
/** How many bytes a file may have; -1: not known yet. */
export const fileBytes = signal(-1);

/** The conversations, newest first, and then the groups in which nothing was said. */
export const sorted = computed(() => {
  const talks = [...conversations.value.values()].filter((c) => c.newest);
  const silent = [...groups.value.values()].filter((g) => !conversations.value.get(g.name)?.newest)
    .map(({ name, display }) => ({ name, display, group: true, newest: null, unread: 0, read: 0, theirs: 0 }));
  return [...talks.sort((a, b) => (b.newest?.id ?? 0) - (a.newest?.id ?? 0)), ...silent];
});
export const totalUnread = computed(() => sorted.value.reduce((sum, c) => sum + c.unread, 0));

/** @type {Map<string, import('../vendor/preact.js').Signal<Part>>} */
const parts = new Map();
/** The part of the conversation that is in memory. @param {string} name */
export function part(name) {
  let found = parts.get(name);
  if (!found) parts.set(name, found = signal({ list: [], older: false, newer: false, loading: 'first' }));
  return found;
}
/** Forgets what was loaded, but keeps `name`. @param {string} [name] */
export function forgetParts(name) {
  for (const key of [...parts.keys()]) if (key !== name) parts.delete(key);
}
/** @param {string} name @param {Partial<Conversation>} change */
export function changeConversation(name, change) {
  const map = new Map(conversations.value);
  const group = groups.value.get(name);
  const old = map.get(name) ?? {
    name, display: group?.display ?? name, group: Boolean(group), newest: null, unread: 0, read: 0, theirs: 0,
  };
  map.set(name, { ...old, ...change });
  conversations.value = map;
}
/** What a conversation is called. @param {string} name */
export const displayName = (name) =>
  conversations.value.get(name)?.display || groups.value.get(name)?.display || name;

/** Nobody is logged in: all that was shown is forgotten. */
export function forgetAll() {
  batch(() => {
    forgetParts();
    conversations.value = new Map();
    loaded.value = false;
    moreBefore.value = null;
    online.value = new Set();
    unsent.value = [];
    groups.value = new Map();
    line.value = 'new';
  });
}
