// A group is made, or one is joined whose name one knows.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from './api.js';
import { Back, Notes } from './frame.js';
import { heardEnd, refreshGroups } from './live.js';
import { chatHref, go, narrow, t } from './state.js';
import { reason } from './text.js';

/**
 * A name and a password.
 * @param {{id: string, title: string, hint: string, label: string, button: string, first?: boolean,
 *   work: (name: string, password: string) => Promise<unknown>, then: (name: string) => string}} props
 */
function NameForm({ id, title, hint, label, button, first = false, work, then }) {
  const [name, password] = [useRef(null), useRef(null)].map((ref) => /** @type {{current: any}} */ (ref));
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState('');
  useEffect(() => { if (first) name.current.focus(); }, []);
  /** @param {Event} e */
  async function submit(e) {
    e.preventDefault();
    const wanted = name.current.value.trim();
    if (busy || !wanted) return;
    setBusy(true);
    setWrong('');
    try {
      await work(wanted, password.current.value);
      await refreshGroups();
      go(then(wanted), true);
    } catch (error) {
      if (heardEnd(error)) return;
      setBusy(false);
      setWrong(why(error));
      name.current.focus();
    }
  }
  return html`<section><h2>${title}</h2>
    <form onSubmit=${submit} autocomplete="off">
      <label for=${id + '-name'}>${label}</label>
      <input id=${id + '-name'} ref=${name} required maxlength="64" autocapitalize="none" spellcheck=${false}
        aria-describedby=${id + '-wrong'} />
      <label for=${id + '-password'}>${t('group_password')}</label>
      <input id=${id + '-password'} ref=${password} type="password" autocomplete="off" aria-describedby=${id + '-hint'} />
      <p class="hint" id=${id + '-hint'}>${hint}</p>
      <p id=${id + '-wrong'} class="wrong" role="alert">${wrong}</p>
      <div><button class=${first ? 'wide' : 'wide quiet'} aria-disabled=${busy}>${button}</button></div>
    </form></section>`;
}
/** @param {any} error */
export const why = (error) => error instanceof api.Refused && error.status > 0 ? reason(error.code) : t('no_server');

export function Screen() {
  return html`<div class="top">${narrow.value && html`<${Back} />`}<h1 class="grow">${t('groups')}</h1></div>
    <${Notes} />
    <div class="page settings">
      <${NameForm} id="make" title=${t('make_group')} hint=${t('make_group_hint')} label=${t('group_name')} button=${t('make')} first
        work=${api.makeGroup} then=${(/** @type {string} */ name) => '#/group/' + encodeURIComponent(name)} />
      <${NameForm} id="join" title=${t('join_group')} hint=${t('join_group_hint')} label=${t('group_name_known')} button=${t('join')}
        work=${api.joinGroup} then=${chatHref} />
    </div>`;
}
