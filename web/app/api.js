// The HTTP API (docs/HTTP.md), and its answers in the shapes of state.js. The only file that knows the spelling.

const ROOT = '/api/v1/';

/** A refusal, or no answer at all: then the status is 0. */
export class Refused extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {number} after  seconds to wait */
  constructor(status, code, message, after = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.after = after;
  }
  /** The same request may work later. */
  get passing() { return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500; }
}

/**
 * @param {string} method @param {string} path @param {object} [body]
 * @param {number} [patience]  milliseconds until it counts as not answered
 */
async function ask(method, path, body, patience = 20_000) {
  /** @type {RequestInit} */
  const init = { method, signal: AbortSignal.timeout(patience), cache: 'no-store' };
  if (body) {
    init.body = JSON.stringify(body);
    init.headers = { 'Content-Type': 'application/json' };
  }
  let answer, text;
  try {
    answer = await fetch(ROOT + path, init);
    text = await answer.text();
  } catch (e) {
    throw new Refused(0, 'network', String(e));
  }
  let json;
  try { json = text ? JSON.parse(text) : {}; } catch { json = null; }
  if (answer.ok && json) return { status: answer.status, json };
  const after = Number(answer.headers.get('Retry-After')) || 0;
  throw new Refused(answer.ok ? 502 : answer.status, json?.error ?? 'other', json?.message ?? answer.statusText, after);
}
export const get = async (/** @type {string} */ path) => (await ask('GET', path)).json;
export const post = async (/** @type {string} */ path, body = {}) => (await ask('POST', path, body)).json;
export const remove = (/** @type {string} */ path) => ask('DELETE', path);
const at = encodeURIComponent;

/** @param {string | number} time */
const toTime = (time) => (typeof time === 'number' ? time : Date.parse(time));
/** @param {any} p */
const toPerson = (p) => ({ name: p.name, display: p.display_name || p.name });
/** @param {any} m @returns {import('./state.js').Message} */
export function toMessage(m) {
  return { id: m.id, time: toTime(m.time), conversation: m.conversation, from: m.from, display: m.display_name,
    text: m.text, key: m.key ?? undefined, file: m.file, readBy: m.read_by, of: m.of };
}
/** @param {any} c @returns {import('./state.js').Conversation} */
export function toConversation(c) {
  return { name: c.name, display: c.display_name || c.name, group: c.kind === 'group',
    newest: c.newest && toMessage({ conversation: c.name, ...c.newest }), unread: c.unread, read: c.read_upto ?? 0,
    theirs: c.their_read_upto ?? 0 };
}

// ---- the account ----

/** @param {string} name @param {string} password */
export const login = async (name, password) => toPerson(await post('login', { name, password }));
/** Makes the first account. @param {string} secret @param {string} name @param {string} password */
export const setup = async (secret, name, password) => toPerson(await post('setup', { secret, name, password }));
/** Makes an account by an invite. @param {string} invite @param {string} name @param {string} password */
export const byInvite = async (invite, name, password) => toPerson(await post('register', { invite, name, password }));
export const logout = () => ask('POST', 'logout');
export const whoAmI = async () => toPerson(await get('me'));

/** @typedef {{id: number, label: string, address: string, used: number, current: boolean}} Login */
/** @returns {Promise<Login[]>} */
export async function sessions() {
  const { sessions: list } = await get('sessions');
  return list.map((/** @type {any} */ s) => ({ id: s.id, label: s.label ?? '', address: s.address ?? '?',
    used: toTime(s.last_used), current: s.current }));
}
/** @param {number} id */
export const endSession = (id) => remove('sessions/' + id);
export const endOtherSessions = () => remove('sessions');

/** The key to subscribe with. @returns {Promise<string>} */
export const pushKey = async () => (await get('push')).key;
/** @param {{endpoint?: string, p256dh?: string, auth?: string, with_text: boolean}} subscription */
export const subscribe = (subscription) => ask('POST', 'push', subscription);
/** @param {string} endpoint */
export const unsubscribe = (endpoint) => ask('DELETE', 'push', { endpoint });

// ---- conversations ----

/** @param {string | number | null} [before] */
export async function conversations(before) {
  const { conversations: list, next } = await get('conversations' + (before ? '?before=' + at(before) : ''));
  return { list: list.map(toConversation), next: next ?? null };
}
/**
 * @param {string} name @param {{before?: number, after?: number, limit: number}} range
 * @returns {Promise<import('./state.js').Message[]>} oldest first
 */
export async function messages(name, range) {
  const query = Object.entries(range).filter(([, v]) => v !== undefined).map(([k, v]) => `${k}=${v}`).join('&');
  const { messages: list } = await get(`conversations/${at(name)}/messages?${query}`);
  return list.map((/** @type {any} */ m) => toMessage({ conversation: name, ...m }));
}
/**
 * The same key again stores nothing again.
 * @param {string} name @param {string} text @param {string} key
 */
export async function send(name, text, key) {
  const { id, time } = await post(`conversations/${at(name)}/messages`, { text, key });
  return { id, time: toTime(time) };
}
/** Where the bytes of a file are. @param {number} id */
export const fileUrl = (id) => ROOT + 'files/' + id;
/** Where a file goes. @param {string} name @param {string} file @param {string} key */
export const filesUrl = (name, file, key) => `${ROOT}conversations/${at(name)}/files?name=${at(file)}&key=${at(key)}`;
/** @param {string} name @param {number} upto */
export const read = (name, upto) => post(`conversations/${at(name)}/read`, { upto });
/** @param {string} q @returns {Promise<(import('./state.js').Person & {online: boolean})[]>} */
export async function people(q) {
  const { people: list } = await get('people?q=' + at(q));
  return list.map((/** @type {any} */ p) => ({ ...toPerson(p), online: Boolean(p.online) }));
}

// ---- groups ----

/** @returns {Promise<import('./state.js').Group[]>} */
export async function groups() {
  const { groups: list } = await get('groups');
  return list.map((/** @type {any} */ g) => ({ ...toPerson(g), owner: g.owner, mine: g.mine, members: g.members }));
}
/** @param {string} name @param {string} [part] */
const group = (name, part = '') => `groups/${at(name)}${part}`;
/** @param {string} name @param {string} password */
export const makeGroup = (name, password) => post('groups', { name, password: password || undefined });
/** @param {string} name @param {string} password */
export const joinGroup = (name, password) => post(group(name, '/join'), { password: password || undefined });
/** @param {string} name */
export const leaveGroup = (name) => post(group(name, '/leave'));
/** @param {string} name */
export const deleteGroup = (name) => remove(group(name));
/** @param {string} name @param {string} display */
export const renameGroup = (name, display) => post(group(name, '/name'), { display_name: display });
/** @typedef {import('./state.js').Person & {owner: boolean, online: boolean}} Member */
/** @param {string} name @returns {Promise<Member[]>} */
export async function members(name) {
  const { members: list } = await get(group(name, '/members'));
  return list.map((/** @type {any} */ m) => ({ ...toPerson(m), owner: m.owner, online: m.online }));
}
/** @param {string} name @param {string} user */
export const invite = (name, user) => post(group(name, '/members'), { name: user });
/** @param {string} name @param {string} user */
export const removeMember = (name, user) => remove(group(name, '/members/' + at(user)));

/** Where the stream is. @param {number} after */
export const eventsUrl = (after) => `${ROOT}events?after=${after}`;
