// All accounts of the server, and one of them.
import { html, useEffect, useState } from '../../vendor/preact.js';
import { Avatar } from '../list.js';
import { go } from '../state.js';
import { moment, plain } from '../text.js';
import * as api from './api.js';
import { Field, Once, Page, Said, Sure, fields, useAct, usePages } from './parts.js';
import { size } from './units.js';
import { t } from './words.js';

/** What is special about an account. @param {api.User} u */
const marks = (u) => [u.name, u.disabled && t('is_disabled'), u.administrator && t('is_administrator')].filter(Boolean).join(' · ');

function Users() {
  const { list, again, rest, wrong: unloaded } = usePages(api.users);
  const { busy, wrong, act } = useAct();
  const [made, setMade] = useState(/** @type {{name: string, password: string} | null} */ (null));
  /** @param {any} e */
  async function add(e) {
    const form = e.target;
    const f = fields(e);
    const { value } = await act(() => api.addUser(f));
    if (!value) return;
    form.reset();
    setMade(value);
    again();
  }
  return html`<${Page} title=${t('at_users')}>
    ${made && html`<${Once} text=${made.password} hint=${t('password_once', { name: made.name })} />`}
    <section><h2>${t('user_new')}</h2><form onSubmit=${add}>
      <${Field} id="new" name="name" label=${t('name')} required maxlength="64" autocapitalize="none" spellcheck=${false} />
      <${Field} id="display" name="display" label=${t('display_or_name')} maxlength="128" dir="auto" />
      <label class="check"><input type="checkbox" name="admin" /> ${t('may_administer')}</label>
      <p class="hint">${t('password_made')}</p>
      <${Said} wrong=${wrong} />
      <button class="wide" aria-disabled=${busy}>${t('add_user')}</button></form></section>
    <section><h2>${t('accounts')}</h2><ul class="convs rows">${list?.map((u) => html`<li key=${u.id}>
      <a href=${'#/settings/users/' + u.id}><${Avatar} name=${u.name} display=${u.display_name} />
        <span class="who" dir="auto">${plain(u.display_name)}</span><span aria-hidden="true">›</span>
        <span class="last">${marks(u)}</span></a></li>`)}</ul>${rest}
      <${Said} wrong=${unloaded} /></section>
  <//>`;
}

/** @param {{id: number}} props */
function User({ id }) {
  const [user, setUser] = useState(/** @type {api.User | null} */ (null));
  const { busy, act, ...told } = useAct();
  const [password, setPassword] = useState('');
  const load = async () => setUser(await api.user(id) ?? null);
  useEffect(() => { act(load); }, []);
  if (!user) return html`<${Page} title=${t('at_users')}><${Said} ...${told} /><//>`;
  const { name } = user;
  /** @param {Parameters<typeof api.setUser>[1]} change @param {string} said */
  const change = (change, said) => act(async () => { await api.setUser(name, change); await load(); }, said);
  /** @param {Event} e */
  function rename(e) {
    const { display } = fields(e);
    change({ display_name: display }, t('saved'));
  }
  return html`<${Page} title=${plain(user.display_name)}>
    <p class="hint">${marks(user)}<br />
      ${t('since', { when: moment(user.created) })} · ${t('stored_size', { size: size(user.stored_bytes) })}</p>
    ${password && html`<${Once} text=${password} hint=${t('password_once', { name })} />`}
    <${Said} ...${told} />
    <section><h2>${t('display_name')}</h2><form onSubmit=${rename}>
      <${Field} id="display" name="display" label=${t('display_name_label')} required maxlength="128" dir="auto"
        defaultValue=${user.display_name} />
      <button class="wide" aria-disabled=${busy}>${t('save')}</button></form></section>
    <section><h2>${t('login')}</h2>
      <p class="hint">${t('password_reset_hint')}</p>
      <${Sure} label=${t('password_reset')} name=${name} onSure=${async () => {
        const { value } = await act(() => api.newPassword(name));
        if (value) setPassword(value);
      }} />
      <p class="hint">${t(user.disabled ? 'enable_hint' : 'disable_hint')}</p>
      <${Sure} label=${t(user.disabled ? 'enable' : 'disable')} name=${name}
        onSure=${() => change({ disabled: !user.disabled }, t(user.disabled ? 'enabled' : 'disabled'))} />
    </section>
    <section><h2>${t('rights')}</h2>
      <p class="hint">${t('administer_hint')}</p>
      <${Sure} label=${t(user.administrator ? 'administrator_no' : 'administrator_yes')} name=${name}
        onSure=${() => change({ administrator: !user.administrator }, t('saved'))} /></section>
    <section><h2>${t('erase')}</h2>
      <p class="hint">${t('remove_user_hint')}</p>
      <${Sure} label=${t('erase')} name=${name} onSure=${async () => {
        const { error } = await act(() => api.removeUser(name));
        if (!error) go('#/settings/users', true);
      }} /></section>
  <//>`;
}

/** @param {{name: string}} props */
export const Screen = ({ name }) => (name ? html`<${User} id=${Number(name)} />` : html`<${Users} />`);
