// The name that others see, and the password.
import { html } from '../../vendor/preact.js';
import { me, remember } from '../state.js';
import * as api from './api.js';
import { Field, Page, Said, fields, useAct } from './parts.js';
import { t } from './words.js';

function Name() {
  const { busy, act, ...told } = useAct();
  const person = /** @type {import('../state.js').Person} */ (me.value);
  /** @param {Event} e */
  async function save(e) {
    const { display } = fields(e);
    const { value } = await act(() => api.rename(display), t('saved'));
    if (!value) return;
    me.value = { name: person.name, display: value.display_name };
    remember('display', value.display_name);
  }
  return html`<section><h2>${t('display_name')}</h2><form onSubmit=${save}>
    <${Field} id="display" name="display" label=${t('display_name_label')} required maxlength="128" dir="auto"
      defaultValue=${person.display} />
    <${Said} ...${told} />
    <button class="wide" aria-disabled=${busy}>${t('save')}</button></form></section>`;
}

function Password() {
  const { busy, act, ...told } = useAct();
  /** @param {any} e */
  async function save(e) {
    const form = e.target;
    const { old, fresh } = fields(e);
    const { error } = await act(() => api.changePassword(old, fresh), t('password_changed'));
    if (!error) form.reset();
    else form.elements.old.focus();
  }
  return html`<section><h2>${t('password')}</h2><form onSubmit=${save}>
    <input type="text" name="username" autocomplete="username" value=${me.value?.name} hidden readonly />
    <${Field} id="old" name="old" type="password" label=${t('password_old')} autocomplete="current-password" required />
    <${Field} id="fresh" name="fresh" type="password" label=${t('password_new')} autocomplete="new-password" required
      hint=${t('password_hint')} />
    <${Said} ...${told} />
    <button class="wide" aria-disabled=${busy}>${t('password_change')}</button></form></section>`;
}

export const Screen = () => html`<${Page} title=${t('at_profile')}><${Name} /><${Password} /><//>`;
