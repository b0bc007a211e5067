// One field that finds a conversation, or a person to begin one with.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from './api.js';
import { Back, Notes } from './frame.js';
import { Avatar } from './list.js';
import { heardEnd } from './live.js';
import { chatHref, go, me, narrow, sorted, t } from './state.js';
import { plain } from './text.js';

/** So long nothing is typed before the server is asked. */
const PAUSE = 200;

export function Screen() {
  const field = /** @type {{current: any}} */ (useRef(null));
  const [q, setQ] = useState('');
  const [found, setFound] = useState(/** @type {import('./state.js').Person[]} */ ([]));
  const [state, setState] = useState('');
  useEffect(() => { field.current.focus(); }, []);
  useEffect(() => {
    let current = true;
    setState('asking');
    const timer = setTimeout(async () => {
      try {
        const people = await api.people(q.trim());
        if (!current) return;
        setFound(people);
        setState('');
      } catch (e) {
        if (current && !heardEnd(e)) setState(e instanceof api.Refused && e.status === 403 ? 'closed' : 'failed');
      }
    }, PAUSE);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [q]);
  const wanted = q.trim().toLocaleLowerCase();
  const known = sorted.value.filter((c) => wanted && (c.name + ' ' + c.display).toLocaleLowerCase().includes(wanted)).slice(0, 8);
  const others = found.filter((p) => p.name !== me.value?.name && !known.some((c) => c.name === p.name));
  const rows = [...known, ...others];
  /** @param {Event} e */
  const first = (e) => {
    e.preventDefault();
    if (rows[0]) go(chatHref(rows[0].name), true);
    else if (state === 'closed' && wanted) go(chatHref(q.trim()), true);
  };
  /** @param {KeyboardEvent} e */
  const walk = (e) => {
    if (e.key !== 'ArrowDown' && e.key !== 'ArrowUp') return;
    const all = /** @type {HTMLElement[]} */ ([field.current, ...document.querySelectorAll('.found a')]);
    const next = all[all.indexOf(/** @type {any} */ (document.activeElement)) + (e.key === 'ArrowDown' ? 1 : -1)];
    next?.focus();
    e.preventDefault();
  };
  return html`<div class="top">${narrow.value && html`<${Back} />`}<h1 class="grow">${t('find')}</h1></div>
    <${Notes} />
    <div class="page" onKeyDown=${walk}>
      <form role="search" onSubmit=${first}>
        <label for="q">${t('find_label')}</label>
        <input id="q" ref=${field} type="search" autocomplete="off" autocapitalize="none" spellcheck=${false} value=${q}
          onInput=${(/** @type {any} */ e) => setQ(e.target.value)} />
      </form>
      <p><a class="link" href="#/newgroup">${t('make_or_join')}</a></p>
      <ul class="convs found">${rows.map((p) => html`<li key=${p.name}>
        <a href=${chatHref(p.name)} onClick=${(/** @type {Event} */ e) => { e.preventDefault(); go(chatHref(p.name), true); }}>
          <${Avatar} name=${p.name} display=${p.display} dot=${/** @type {any} */ (p).online} />
          <span class="who" dir="auto">${plain(p.display)}</span><span></span>
          <span class="last">${p.name}${/** @type {any} */ (p).online ? ' · ' + t('online') : ''}</span></a></li>`)}</ul>
      <p role="status" class="hint">${state === 'failed' ? t('not_loaded') : state === 'closed' ? t('directory_closed')
        : state === '' && rows.length === 0 ? t('nobody_found') : state === '' ? t('found', { n: rows.length }) : ''}</p>
    </div>`;
}
