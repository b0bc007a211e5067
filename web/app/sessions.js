// Where the account is logged in, and the end of other logins.
import { html, useEffect, useState } from '../vendor/preact.js';
import * as api from './api.js';
import { heardEnd } from './live.js';
import { t } from './state.js';
import { moment } from './text.js';

export function Sessions() {
  const [list, setList] = useState(/** @type {api.Login[] | null} */ (null));
  const [failed, setFailed] = useState(false);
  /** @param {() => Promise<unknown>} [first] */
  async function load(first) {
    try {
      await first?.();
      setList(await api.sessions());
      setFailed(false);
    } catch (e) {
      if (!heardEnd(e)) setFailed(true);
    }
  }
  useEffect(() => { load(); }, []);
  return html`<section><h2>${t('sessions')}</h2>
    <ul class="rows">${list?.map((s) => html`<li class="set" key=${s.id}>
      <span class="grow"><span dir="auto">${s.label || s.address}</span>
        <span class="hint">${s.current ? t('session_here') : t('session_used', { when: moment(s.used) })}</span></span>
      ${!s.current && html`<button type="button" class="link" aria-label=${t('session_end_of', { name: s.label || s.address })}
        onClick=${() => load(() => api.endSession(s.id))}>${t('session_end')}</button>`}</li>`)}</ul>
    <p role="status" class="hint">${failed ? t('not_loaded') : ''}</p>
    ${list && list.length > 1 && html`<button type="button" class="wide quiet"
      onClick=${() => load(api.endOtherSessions)}>${t('sessions_end_others')}</button>`}
  </section>`;
}
