// Other people's text and the clock, as they are shown. Everything goes into the page as text nodes.
import { html } from '../vendor/preact.js';
import { setting, t } from './state.js';

// Controls but tab and line feed, what turns the direction of writing, what ends a paragraph, what is invisible and splits words.
const UNSAFE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/u;
const UNSAFE_ALL = new RegExp(UNSAFE.source, 'gu');
const LINK = /https?:\/\/[^\s<>"\u0000-\u0020]+/giu;

/** `U+202E` @param {string} c */
const codePoint = (c) => 'U+' + (c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');

/**
 * Puts out the text with each character that hides, turns or moves others shown as a mark.
 * @param {string} text @param {(string | object)[]} out
 */
function marked(text, out) {
  let from = 0;
  for (const found of text.matchAll(UNSAFE_ALL)) {
    if (found.index > from) out.push(text.slice(from, found.index));
    out.push(html`<span class="mark">${codePoint(found[0])}</span>`);
    from = found.index + found[0].length;
  }
  if (from < text.length) out.push(text.slice(from));
}

/** The same as plain text, for titles and labels. @param {string} text */
export const plain = (text) => text.replace(UNSAFE_ALL, (c) => codePoint(c));

/** One line of it, for the list. It is cut first: a text may be long. @param {string} text */
export const oneLine = (text) => plain(text.trimStart().slice(0, 300).replace(/\s+/gu, ' ').trimEnd());

/**
 * Where a link ends: what closes a sentence or a bracket that was opened before it is none of it.
 * @param {string} link
 */
function trimLink(link) {
  /** @type {Record<string, number>} */
  const count = {};
  for (const c of link) count[c] = (count[c] ?? 0) + 1;
  let end = link.length;
  for (; end; end--) {
    const last = link[end - 1];
    const opener = { ')': '(', ']': '[', '}': '{' }[last];
    const closes = opener && count[last] > (count[opener] ?? 0);
    if (!closes && !/[.,;:!?'*_…»”’]/u.test(last)) break;
    count[last]--;
  }
  return link.slice(0, end);
}

/**
 * The address of a link and its host, or null where it is none: it has a user, or a character that is shown as a mark.
 * @param {string} text
 */
function target(text) {
  if (UNSAFE.test(text) || text.includes('\\')) return null;
  try {
    const url = new URL(text);
    if (!/^https?:$/.test(url.protocol) || url.username || url.password || !url.hostname) return null;
    return url;
  } catch { return null; }
}

/**
 * A message's text: marks, and links whose text is their target. A host that the browser would spell otherwise is shown
 * as the browser spells it, beside the link.
 * @param {string} text
 */
export function message(text) {
  /** @type {(string | object)[]} */
  const out = [];
  let from = 0;
  for (const found of text.matchAll(LINK)) {
    const link = trimLink(found[0]);
    const url = target(link);
    if (!url) continue;
    marked(text.slice(from, found.index), out);
    const written = link.slice(link.indexOf('//') + 2).split(/[/?#]/u)[0].toLowerCase().replace(/:(80|443)?$/u, '');
    out.push(html`<a href=${url.href} target="_blank" rel="noopener noreferrer nofollow" dir="ltr">${link}</a>`);
    if (written !== url.host) out.push(html` <span class="host">(${url.host})</span>`);
    from = found.index + link.length;
  }
  marked(text.slice(from), out);
  return out;
}

/** The wire of 2020 puts a space before a text, and a line end after it. @param {string} text */
export const trimmed = (text) => text.replace(/^ +(?=\S)/u, '').trimEnd();

/** Why the server has refused something. @param {string} code */
export function reason(code) {
  const known = t('refused_' + code);
  return known === 'refused_' + code ? t('refused', { code }) : known;
}
/** How large a file is. @param {number} bytes */
export function size(bytes) {
  const [unit, by, digits] = bytes < 1e6 ? ['kilobyte', 1e3, 0] : ['megabyte', 1e6, 1];
  const options = { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits: digits };
  return new Intl.NumberFormat(setting.lang.value, /** @type {any} */ (options)).format(Math.max(bytes / Number(by), bytes && 1));
}

/** Two letters for a name. @param {string} name */
export function initials(name) {
  const words = name.replace(UNSAFE_ALL, '').split(/[\s._-]+/u).filter(Boolean);
  const first = (/** @type {string} */ w) => [...w][0].toLocaleUpperCase();
  return words.length === 0 ? '?' : words.length === 1 ? first(words[0]) : first(words[0]) + first(words[words.length - 1]);
}
/** One of six colours, the same for a name each time. @param {string} name */
export function colour(name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + (c.codePointAt(0) ?? 0)) % 9973;
  return 'abcdef'[sum % 6];
}

// ---- the clock ----

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();
/** @param {string} name @param {Intl.DateTimeFormatOptions} options @param {number} time */
function format(name, options, time) {
  const key = setting.lang.value + name;
  let found = formats.get(key);
  if (!found) formats.set(key, found = new Intl.DateTimeFormat(setting.lang.value === 'en' ? 'en-GB' : 'id', options));
  return found.format(time);
}
/** @param {number} time */
export const clock = (time) => format('clock', { hour: '2-digit', minute: '2-digit' }, time);
/** Midnight before it, in the time zone of the person. @param {number} time */
export function day(time) {
  const date = new Date(time);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
/** @param {number} time */
const daysAgo = (time) => Math.round((day(Date.now()) - day(time)) / 86_400_000);
/** @param {number} time */
export function dayName(time) {
  const ago = daysAgo(time);
  if (ago === 0) return t('today');
  if (ago === 1) return t('yesterday');
  const year = new Date(time).getFullYear() === new Date().getFullYear() ? undefined : 'numeric';
  return format('day' + year, { weekday: 'long', day: 'numeric', month: 'long', year }, time);
}
/** Short: a time, a weekday, or a date. @param {number} time */
export function when(time) {
  const ago = daysAgo(time);
  if (ago <= 0) return clock(time);
  if (ago < 7) return format('weekday', { weekday: 'short' }, time);
  return format('date', { day: 'numeric', month: 'numeric', year: '2-digit' }, time);
}
/** Day and time. @param {number} time */
export const moment = (time) => format('moment', { dateStyle: 'medium', timeStyle: 'short' }, time);
