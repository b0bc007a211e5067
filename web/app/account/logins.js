// Everybody's sessions, tokens and hooks.
import { html } from '../../vendor/preact.js';
import { moment } from '../text.js';
import * as api from './api.js';
import { Page, Said, Sure, useAct, usePages } from './parts.js';
import { t } from './words.js';

export function Screen() {
  const { list, again, rest, wrong: unloaded } = usePages(api.logins);
  const { wrong, act } = useAct();
  return html`<${Page} title=${t('at_logins')}>
    <p class="hint">${t('logins_hint')}</p>
    <${Said} wrong=${wrong || unloaded} />
    <ul class="rows">${list?.map((s) => html`<li class="set" key=${s.id}>
      <span class="grow"><span dir="auto">${s.name}${s.label && html` · ${s.label}`}</span>
        <span class="hint">${s.scope ? t('scope_' + s.scope) : s.address} · ${t('session_used', { when: moment(s.last_used) })}</span>
      </span>
      <${Sure} label=${t('session_end')} name=${`${s.name} ${s.label || s.address}`}
        onSure=${() => act(() => api.endAny(s.id)).then(again)} />
    </li>`)}</ul>${rest}
  <//>`;
}
