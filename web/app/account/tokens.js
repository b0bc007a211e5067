// Tokens and hooks for programs: made, shown once, ended.
import { html, useState } from '../../vendor/preact.js';
import { moment } from '../text.js';
import * as api from './api.js';
import { Choice, Field, Once, Page, Said, Sure, fields, useAct, usePages } from './parts.js';
import { t } from './words.js';

/** @param {{token: api.Token, onEnd: () => void}} props */
function Row({ token, onEnd }) {
  const { label, scope, to, last_used: used } = token;
  const facts = [scope && t('scope_' + scope), to && t('only_to', { name: to }),
    used ? t('session_used', { when: moment(used) }) : t('never_used')];
  return html`<li class="set"><span class="grow"><span dir="auto">${label}</span>
      <span class="hint">${facts.filter(Boolean).join(' · ')}</span></span>
    <${Sure} label=${t('session_end')} name=${label} onSure=${onEnd} /></li>`;
}

/** @param {{hooks: boolean}} props */
export function Tokens({ hooks }) {
  const [list, add, end] = hooks ? [api.hooks, api.addHook, api.endHook] : [api.tokens, api.addToken, api.endToken];
  const pages = usePages(async () => ({ list: await list(), next: null }));
  const { busy, wrong, act } = useAct();
  const [made, setMade] = useState('');
  const [asks, setAsks] = useState(false);
  const [scope, setScope] = useState('send');
  /** @param {any} e */
  async function make(e) {
    const form = e.target;
    const f = fields(e);
    const { value, error } = await act(() => add(f));
    if (error?.code === 'password_wanted') setAsks(true);
    if (!value) return;
    form.reset();
    setScope('send');
    setAsks(false);
    setMade(value);
    pages.again();
  }
  return html`<${Page} title=${t(hooks ? 'at_hooks' : 'at_tokens')}>
    <p class="hint">${t(hooks ? 'hooks_hint' : 'tokens_hint')}</p>
    ${made && html`<${Once} text=${made} hint=${t('shown_once')} />`}
    <section><h2>${t(hooks ? 'hook_new' : 'token_new')}</h2><form onSubmit=${make}>
      <${Field} id="label" name="label" label=${t('label')} required maxlength="128" dir="auto" />
      ${!hooks && html`<${Choice} id="scope" name="scope" label=${t('scope')} value=${scope}
        onChange=${(/** @type {any} */ e) => setScope(e.target.value)}
        values=${['send', 'read', 'all'].map((s) => [s, t('scope_' + s)])} />`}
      ${(hooks || scope === 'send') && html`<${Field} id="to" name="to" label=${t(hooks ? 'to' : 'to_or_all')} required=${hooks}
        autocapitalize="none" spellcheck=${false} />`}
      ${asks && html`<${Field} id="again" name="password" type="password" label=${t('password')} autocomplete="current-password"
        required />`}
      <${Said} wrong=${wrong} />
      <button class="wide" aria-disabled=${busy}>${t('make_it')}</button></form></section>
    <section><h2>${t('there_are')}</h2>
      ${pages.list?.length === 0 && html`<p class="hint">${t('none_yet')}</p>`}
      <ul class="rows">${pages.list?.map((token) => html`<${Row} key=${token.id} token=${token}
        onEnd=${() => act(() => end(token.id)).then(pages.again)} />`)}</ul>
      <${Said} wrong=${pages.wrong} /></section>
  <//>`;
}

export const Screen = () => html`<${Tokens} hooks=${false} />`;
