// What api.js is for the rest of the page: the account and administration, as docs/HTTP.md spells them.
import { get, post, remove } from '../api.js';

const at = encodeURIComponent;
/** @param {string} text */
const orNone = (text) => text || undefined;

/** @returns {Promise<{name: string, display_name: string, administrator: boolean}>} */
export const me = () => get('me');
/** @param {string} display */
export const rename = (display) => post('me', { display_name: display });
/** @param {string} old @param {string} fresh */
export const changePassword = (old, fresh) => post('me/password', { old, new: fresh });

/** @typedef {{id: number, label: string, scope?: string, to: string | null, created: number, last_used: number | null}} Token */
/** @returns {Promise<Token[]>} */
export const tokens = async () => (await get('tokens')).tokens;
/** @returns {Promise<Token[]>} */
export const hooks = async () => (await get('hooks')).hooks;
/** @param {Record<string, string>} f @returns {Promise<string>} */
export const addToken = async (f) => (await post('tokens',
  { label: f.label, scope: f.scope, to: orNone(f.to), password: orNone(f.password) })).token;
/** @param {Record<string, string>} f @returns {Promise<string>} */
export const addHook = async (f) => location.origin
  + (await post('hooks', { label: f.label, to: f.to, password: orNone(f.password) })).path;
/** @param {number} id */
export const endToken = (id) => remove('tokens/' + id);
/** @param {number} id */
export const endHook = (id) => remove('hooks/' + id);

// ---- for an administrator ----

/** @param {string} what @param {string} key */
const pages = (what, key) => async (/** @type {number} */ after) => {
  const page = await get(`admin/${what}${what.includes('?') ? '&' : '?'}after=${after}`);
  return { ...page, list: page[key] };
};
/**
 * @typedef {{id: number, name: string, display_name: string, country: string, disabled: boolean, administrator: boolean,
 *   created: number, stored_bytes: number}} User
 */
export const users = pages('users', 'users');
/** @param {number} id @returns {Promise<User | undefined>} */
export const user = async (id) => (await users(id - 1)).list.find((/** @type {User} */ u) => u.id === id);
/** @param {Record<string, string>} f @returns {Promise<{name: string, password: string}>} */
export const addUser = (f) => post('admin/users', { name: f.name, display_name: orNone(f.display), administrator: f.admin === 'on' });
/** @param {string} name @param {{display_name?: string, disabled?: boolean, administrator?: boolean}} change */
export const setUser = (name, change) => post('admin/users/' + at(name), change);
/** @param {string} name @returns {Promise<string>} */
export const newPassword = async (name) => (await post(`admin/users/${at(name)}/password`)).password;
/** @param {string} name */
export const removeUser = (name) => remove('admin/users/' + at(name));

/** @typedef {{id: number, name: string, display_name: string, members: number}} Group */
export const groups = pages('groups', 'groups');
/** @param {string} name @returns {Promise<{name: string, display_name: string}[]>} */
export const members = async (name) => (await get(`admin/groups/${at(name)}/members`)).members;
/** @param {string} name */
export const removeGroup = (name) => remove('admin/groups/' + at(name));
/** @param {string} name @param {string} user */
export const removeMember = (name, user) => remove(`admin/groups/${at(name)}/members/${at(user)}`);

/** @typedef {{id: number, for: string, created: number, expires: number}} Invite */
export const invites = pages('invites', 'invites');
/** @param {Record<string, string>} f @returns {Promise<string>} */
export const addInvite = async (f) => location.origin + (await post('admin/invites', { for: f.for, days: Number(f.days) })).path;
/** @param {number} id */
export const removeInvite = (id) => remove('admin/invites/' + id);

/**
 * @typedef {{id: number, name: string, created: number, last_used: number, address: string, label: string,
 *   scope: string | null}} AnySession
 */
export const logins = pages('sessions', 'sessions');
/** @param {number} id */
export const endAny = (id) => remove('admin/sessions/' + id);
/** @returns {Promise<Record<string, any>>} */
export const health = () => get('admin/health');
