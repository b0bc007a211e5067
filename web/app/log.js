// The messages of a conversation: what is shown of them, where it is scrolled to, and what of it was seen.
import { Component, html, useEffect, useLayoutEffect, useRef, useState } from '../vendor/preact.js';
import { insert } from './composer.js';
import { FileBody, WaitingFile } from './file.js';
import { IconButton } from './frame.js';
import { atEnd, load, markRead } from './live.js';
import * as outbox from './outbox.js';
import { conversations, focused, groups, line, loaded, me, part, setting, t, unsent } from './state.js';
import { clock, day, dayName, message, moment, plain, reason, trimmed } from './text.js';

/** Nearer than this to an end, in pixels, more is loaded. */
const NEAR = 400;
/** Nearer than this to the bottom it stays at the bottom. */
const AT_BOTTOM = 48;
/** A pause after which the sender is told again. */
const PAUSE = 5 * 60_000;
/** So many characters of a text are shown before somebody asks for all. */
const LONG = 20_000;

/** @param {{text: string}} props */
function Text({ text }) {
  const [whole, setWhole] = useState(false);
  const all = trimmed(text);
  const cut = !whole && all.length > LONG;
  return html`<span class="text" dir="auto">${message(cut ? all.slice(0, LONG) : all)}</span>
    ${cut && html`<button type="button" class="link" onClick=${() => setWhole(true)}>${t('more')}</button>`}`;
}

class Row extends Component {
  /** @param {any} next */
  shouldComponentUpdate(next) {
    const now = /** @type {any} */ (this.props);
    return ['m', 'first', 'read', 'named', 'lang'].some((name) => next[name] !== now[name]);
  }
  /** @param {any} props */
  render({ m, first, read, named }) {
    const own = m.from === me.value?.name;
    const who = own ? t('you') : plain(m.display || m.from);
    return html`<li class=${'m' + (own ? ' me' : '') + (first ? ' first' : '')} tabindex="-1" data-id=${m.id}>
      ${named && first && !own ? html`<span class="by" dir="auto">${who}</span>` : html`<span class="vh">${who}: </span>`}
      ${m.file ? html`<${FileBody} file=${m.file} />` : html`<${Text} text=${m.text} />`}
      <span class="meta"><time datetime=${new Date(m.time).toISOString()} title=${moment(m.time)}>${clock(m.time)}</time>
        ${own && (named && m.of ? html`<${ReadBy} m=${m} />` : html`<span class="st" aria-hidden="true">${read ? '✓✓' : '✓'}</span>
          <span class="vh">, ${t(read ? 'read' : 'stored')}</span>`)}</span>
    </li>`;
  }
}

/** How many of a group have read it. @param {{m: import('./state.js').Message}} props */
function ReadBy({ m }) {
  const words = t('read_by', { n: m.readBy ?? 0, of: m.of ?? 0 });
  return html`<span class="st" aria-hidden="true" title=${words}>${m.readBy === m.of ? '✓✓' : '✓'}</span>
    <span aria-hidden="true" title=${words}> ${m.readBy}/${m.of}</span><span class="vh">, ${words}</span>`;
}

/** A text that the server has not. @param {{item: import('./state.js').Unsent, first: boolean}} props */
function Waiting({ item, first }) {
  const edit = () => {
    if (!item.file) insert(item.text);
    outbox.drop(item);
  };
  const state = outbox.held.value.has(item.conversation) ? 'their_inbox_full' : line.value === 'open' ? 'sending' : 'not_sent';
  return html`<li class=${'m me waits' + (first ? ' first' : '')} tabindex="-1" data-key=${item.key}>
    <span class="vh">${t('you')}: </span>
    ${item.file ? html`<${WaitingFile} item=${item} file=${item.file} />`
    : html`<${Text} text=${item.text} />`}
    <span class="meta">${item.refused ? html`<span class="bad">${reason(item.refused)}</span>
        <button type="button" class="link" onClick=${() => outbox.again(item)}>${t('again')}</button>
        <button type="button" class="link" onClick=${edit}>${t(item.file ? 'delete' : 'edit')}</button>`
      : html`<span class=${state === 'sending' ? '' : 'bad'}>${t(state)}</span>
        ${item.file && html` <button type="button" class="link" onClick=${edit}>${t('cancel')}</button>`}`}</span>
  </li>`;
}

/** What is between the messages, and the messages. @param {any} p */
function rows({ list, waiting, newAfter, theirs, group, lang }) {
  const out = [];
  let before = { from: '', time: 0 };
  let marked = false;
  for (const m of list) {
    const otherDay = day(m.time) !== day(before.time);
    if (otherDay) out.push(html`<li class="day" key=${'d' + day(m.time)}>${dayName(m.time)}</li>`);
    const isNew = !marked && m.id > newAfter && m.from !== me.value?.name;
    if (isNew) {
      marked = true;
      out.push(html`<li class="new" key="new">${t('new_messages')}</li>`);
    }
    const first = otherDay || isNew || m.from !== before.from || m.time - before.time > PAUSE;
    out.push(html`<${Row} key=${m.id} m=${m} first=${first} read=${m.id <= theirs} named=${group} lang=${lang} />`);
    before = m;
  }
  waiting.forEach((/** @type {any} */ item, /** @type {number} */ i) => {
    out.push(html`<${Waiting} key=${item.key} item=${item} first=${i === 0 && before.from !== me.value?.name} />`);
  });
  return out;
}

/** The first message that is in sight, and where. @param {HTMLElement} log */
function anchor(log) {
  const top = log.getBoundingClientRect().top;
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (log.querySelectorAll('.m'))) {
    const box = row.getBoundingClientRect();
    if (box.bottom > top) return { id: row.dataset.id, from: box.top - top };
  }
  return null;
}

/** Arrow keys go from message to message. @param {KeyboardEvent} e */
function walk(e) {
  const to = { ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity }[e.key];
  if (!to || e.altKey || e.ctrlKey || e.metaKey) return;
  const log = /** @type {HTMLElement} */ (e.currentTarget);
  const all = /** @type {HTMLElement[]} */ ([...log.querySelectorAll('.m')]);
  const now = all.indexOf(/** @type {HTMLElement} */ (document.activeElement?.closest('.m')));
  const next = now < 0 ? all.length - 1 : Math.max(0, Math.min(all.length - 1, now + to));
  all[next]?.focus();
  e.preventDefault();
}

/** @param {{name: string}} props */
export function Log({ name }) {
  const here = part(name);
  const { list, older, newer, loading } = here.value;
  const conversation = conversations.value.get(name);
  const waiting = unsent.value.filter((item) => item.conversation === name);
  const log = /** @type {{current: any}} */ (useRef(null));
  const stick = useRef(true);
  const opened = useRef(false);
  /** The messages after this one are new. */
  const newAfter = useRef(Infinity);
  const known = useRef(false);
  const [away, setAway] = useState(false);

  const unread = conversation?.unread ?? 0;
  if (!known.current && loaded.value) {
    known.current = true;
    if (unread) newAfter.current = conversation?.read ?? 0;
  } else if (known.current && opened.current && unread === 1 && !focused.value) newAfter.current = conversation?.read ?? 0;
  if (waiting.length && focused.value) newAfter.current = Infinity;
  const mine = waiting.length;
  const sentBefore = useRef(0);
  if (mine > sentBefore.current) stick.current = true;
  sentBefore.current = mine;

  // Where a message is before this drawing, it is to be after it.
  const before = log.current && !stick.current ? anchor(log.current) : null;
  useLayoutEffect(() => {
    const el = log.current;
    if (!opened.current && list.length) {
      opened.current = true;
      const mark = el.querySelector('.new');
      if (mark) {
        el.scrollTop = mark.offsetTop - 72;
        stick.current = el.scrollHeight - el.scrollTop - el.clientHeight < AT_BOTTOM;
      } else el.scrollTop = el.scrollHeight;
    } else if (stick.current) el.scrollTop = el.scrollHeight;
    else if (before) {
      const row = el.querySelector(`[data-id="${before.id}"]`);
      if (row) el.scrollTop += row.getBoundingClientRect().top - el.getBoundingClientRect().top - before.from;
    }
    look();
  }, [list, mine]);
  useEffect(() => {
    const size = new ResizeObserver(() => {
      if (stick.current && log.current) log.current.scrollTop = log.current.scrollHeight;
    });
    size.observe(log.current);
    return () => size.disconnect();
  }, []);
  useEffect(look, [focused.value]);
  useEffect(() => { if (mine && newer) load(name, 'first'); }, [mine]);

  /** Tells which messages were seen: those in sight while the window has the keyboard. */
  function look() {
    if (!focused.peek() || document.hidden || !log.current) return;
    const bottom = log.current.getBoundingClientRect().bottom + 8;
    const all = log.current.querySelectorAll('.m[data-id]');
    for (let i = all.length - 1; i >= 0; i--) {
      if (all[i].getBoundingClientRect().bottom <= bottom || all[i].getBoundingClientRect().top < bottom - 120) {
        markRead(name, Number(all[i].dataset.id));
        return;
      }
    }
  }
  function scrolled() {
    const el = log.current;
    const below = el.scrollHeight - el.scrollTop - el.clientHeight;
    const now = here.peek();
    stick.current = below < AT_BOTTOM && !now.newer;
    atEnd.value = stick.current;
    setAway(!stick.current && (below > el.clientHeight / 2 || now.newer));
    if (el.scrollTop < NEAR && now.older && now.loading === '') load(name, 'older');
    else if (below < NEAR && now.newer && now.loading === '') load(name, 'newer');
    look();
  }
  async function toEnd() {
    stick.current = true;
    if (newer) await load(name, 'first');
    log.current.scrollTop = log.current.scrollHeight;
    setAway(false);
  }
  const still = loading === 'older' || loading === 'newer' || !opened.current;
  return html`<div class="frame">
    <div class="log" role="log" aria-label=${t('messages')} aria-live=${still ? 'off' : 'polite'} aria-busy=${Boolean(loading)}
      tabindex="0" ref=${log} onScroll=${scrolled} onKeyDown=${walk}>
      ${loading === 'failed' && html`<p class="start">${t('not_loaded')} <button type="button" class="link"
        onClick=${() => load(name, list.length ? 'older' : 'first')}>${t('again')}</button></p>`}
      ${!older && !loading && html`<p class="start">${list.length || mine ? t('start') : t('nothing_yet')}</p>`}
      <ol>${rows({ list, waiting, newAfter: newAfter.current, theirs: conversation?.theirs ?? 0,
        group: conversation?.group || groups.value.has(name),
        lang: setting.lang.value + t('today') })}</ol>
    </div>
    ${away && html`<div class="jump"><${IconButton} icon="down" label=${t('to_newest')} onClick=${toEnd} />
      ${unread > 0 && html`<span class="n" aria-hidden="true">${unread}</span>`}</div>`}
  </div>`;
}
