// What a person sets: for this browser, and for the account.
import { html, useEffect, useState } from '../vendor/preact.js';
import * as api from './api.js';
import { notify, sound } from './bell.js';
import { Back, Notes } from './frame.js';
import { Avatar } from './list.js';
import { leave } from './live.js';
import * as outbox from './outbox.js';
import * as push from './push.js';
import { AccountLinks } from './account/links.js';
import { Sessions } from './sessions.js';
import { LANGUAGES, choose, me, narrow, remember, setting, t, unsent } from './state.js';
import { plain } from './text.js';

/** @param {{name: 'lang' | 'theme', label: string, values: [string, string][]}} props */
const Choice = ({ name, label, values }) => html`<div class="set">
  <label for=${'set-' + name}>${label}</label>
  <select id=${'set-' + name} value=${setting[name].value} onChange=${(/** @type {any} */ e) => choose(name, e.target.value)}>
    ${values.map(([value, called]) => html`<option value=${value} key=${value}>${called}</option>`)}
  </select></div>`;

/** @param {{label: string, on: boolean, set: (on: boolean) => void, hint?: string, disabled?: boolean}} props */
const Switch = ({ label, on, set, hint, disabled = false }) => html`<div class="set">
  <span class="grow"><span>${label}</span>${hint && html`<span class="hint">${hint}</span>`}</span>
  <button type="button" class="switch" role="switch" aria-checked=${on} aria-label=${label} aria-disabled=${disabled}
    onClick=${() => { if (!disabled) set(!on); }}><i /></button></div>`;

/** Notifications are asked for by this switch, never by themselves. */
function Notifications() {
  const [hint, setHint] = useState('');
  const [closed, setClosed] = useState(false);
  const on = setting.notify.value === 'on';
  const preview = setting.preview.value;
  useEffect(() => {
    let current = true;
    setClosed(false);
    if (on) push.subscribe().then(() => { if (current) setClosed(true); }, () => { /* told while the page is open */ });
    return () => { current = false; };
  }, [on, preview]);
  /** @param {boolean} wanted */
  async function set(wanted) {
    if (!wanted) {
      choose('notify', 'off');
      return push.unsubscribe(true).catch(() => {});
    }
    if (!('Notification' in window)) return setHint(t('notify_cannot'));
    if (await Notification.requestPermission() !== 'granted') return setHint(t('notify_denied'));
    setHint('');
    choose('notify', 'on');
  }
  return html`<${Switch} label=${t('notify')} on=${on} set=${set} 
      hint=${hint || t(closed ? 'notify_closed' : push.wantsInstall ? 'notify_install' : 'notify_hint')} />
    ${on && html`<${Switch} label=${t('preview')} on=${preview === 'on'}
        set=${(/** @type {boolean} */ v) => choose('preview', v ? 'on' : 'off')} />
      <button type="button" class="link" onClick=${() => notify('', 'chatd', t('notify_test_text'))}>${t('notify_test')}</button>`}`;
}

/** Forgets what this browser keeps of the account. */
async function forget() {
  const name = me.value?.name;
  await outbox.clear().catch(() => {});
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(`chatd.draft/${name}/`)) localStorage.removeItem(key);
  }
  remember('display', null);
}
function LogOut() {
  const [asked, setAsked] = useState(false);
  const [failed, setFailed] = useState(false);
  async function out() {
    if (unsent.value.length && !asked) return setAsked(true);
    try {
      await outbox.alone(() => api.logout());
    } catch (e) {
      if (!(e instanceof api.Refused) || e.status !== 401) return setFailed(true);
    }
    await forget();
    push.unsubscribe(false).catch(() => {});
    leave(false);
  }
  return html`<div>
    <p role="alert" class="wrong">${failed ? t('no_server') : asked ? t('log_out_unsent', { n: unsent.value.length }) : ''}</p>
    <button type="button" class="wide quiet" onClick=${out}>${asked ? t('log_out_anyway') : t('log_out')}</button></div>`;
}

/** @type {Record<string, () => Promise<{Screen: any}>>} */
const MORE = {
  profile: () => import('./account/profile.js'),
  tokens: () => import('./account/tokens.js'),
  hooks: () => import('./account/hooks.js'),
  users: () => import('./account/users.js'),
  groups: () => import('./account/groups.js'),
  invites: () => import('./account/invites.js'),
  logins: () => import('./account/logins.js'),
  health: () => import('./account/health.js'),
};
/** One of the screens behind the settings, which come with their code. @param {{part: string, name: string}} props */
function More({ part, name }) {
  const [Inside, setInside] = useState(/** @type {any} */ (null));
  useEffect(() => {
    MORE[part]().then((module) => setInside(() => module.Screen), () => { if (navigator.onLine) location.reload(); });
  }, []);
  return Inside && html`<${Inside} name=${name} />`;
}

/** @param {{name: string}} props */
export function Screen({ name }) {
  const [, part, rest = ''] = /^([^/]*)\/?(.*)$/.exec(name) || [];
  return Object.hasOwn(MORE, part) ? html`<${More} key=${name} part=${part} name=${rest} />` : html`<${Main} />`;
}

function Main() {
  const person = me.value;
  if (!person) return null;
  return html`<div class="top">${narrow.value && html`<${Back} />`}<h1 class="grow">${t('settings')}</h1></div>
    <${Notes} />
    <div class="page settings">
      <div class="self"><${Avatar} name=${person.name} display=${person.display} />
        <div class="grow"><p class="who" dir="auto">${plain(person.display)}</p><p class="hint">${person.name}</p></div></div>
      <section><h2>${t('this_browser')}</h2>
        <${Choice} name="lang" label=${t('language')} values=${Object.entries(LANGUAGES)} />
        <${Choice} name="theme" label=${t('theme')} values=${['auto', 'light', 'dark'].map((v) => [v, t('theme_' + v)])} />
        <${Switch} label=${t('sound')} on=${setting.sound.value === 'on'} set=${(/** @type {boolean} */ v) => {
          choose('sound', v ? 'on' : 'off');
          if (v) sound();
        }} />
        <${Notifications} />
      </section>
      <${AccountLinks} />
      <${Sessions} />
      <section><${LogOut} /></section>
    </div>`;
}
