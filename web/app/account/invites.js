// Links that make an account each.
import { html, useState } from '../../vendor/preact.js';
import { moment } from '../text.js';
import * as api from './api.js';
import { Choice, Field, Once, Page, Said, Sure, fields, useAct, usePages } from './parts.js';
import { number } from './units.js';
import { t } from './words.js';

export function Screen() {
  const [open, setOpen] = useState(true);
  const { list, again, rest, wrong: unloaded } = usePages(async (after) => {
    const page = await api.invites(after);
    setOpen(page.open);
    return page;
  });
  const { busy, wrong, act } = useAct();
  const [made, setMade] = useState('');
  /** @param {any} e */
  async function make(e) {
    const form = e.target;
    const f = fields(e);
    const { value } = await act(() => api.addInvite(f));
    if (!value) return;
    form.reset();
    setMade(value);
    again();
  }
  return html`<${Page} title=${t('at_invites')}>
    <p class="hint">${t('invites_hint')}</p>
    ${!open && html`<p class="note" role="status">${t('invites_closed')}</p>`}
    ${made && html`<${Once} text=${made} hint=${t('link_once')} />`}
    <section><h2>${t('invite_new')}</h2><form onSubmit=${make}>
      <${Field} id="for" name="for" label=${t('invite_for')} maxlength="128" dir="auto" />
      <${Choice} id="days" name="days" label=${t('invite_lasts')} defaultValue="7"
        values=${[1, 7, 30].map((d) => [String(d), d === 1 ? t('one_day') : t('days', { count: number(d) })])} />
      <${Said} wrong=${wrong} />
      <button class="wide" aria-disabled=${busy}>${t('make_it')}</button></form></section>
    <section><h2>${t('invites_open')}</h2>
      ${list?.length === 0 && html`<p class="hint">${t('none_yet')}</p>`}
      <ul class="rows">${list?.map((i) => html`<li class="set" key=${i.id}>
        <span class="grow"><span dir="auto">${i.for || t('for_anybody')}</span>
          <span class="hint">${t('over_at', { when: moment(i.expires) })}</span></span>
        <${Sure} label=${t('take_back')} name=${i.for || t('for_anybody')} onSure=${() => act(() => api.removeInvite(i.id)).then(again)} />
      </li>`)}</ul>${rest}
      <${Said} wrong=${unloaded} /></section>
  <//>`;
}
