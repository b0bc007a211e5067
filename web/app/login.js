// Name, password, language. At the link that a server without accounts prints, or at that of an invite, they make an account.
import { html, useRef, useState } from '../vendor/preact.js';
import { LANGUAGES, choose, ended, recall, remember, setting, t } from './state.js';

/** @param {any} error @returns {string} */
function reason(error) {
  if (error.status === 401) return t('login_wrong');
  if (error.status === 429) return t('login_slow', { n: error.after || 10 });
  if (error.status === 0) return t('no_server');
  if (error.code === 'bad_invite') return t('link_over');
  return error.message || t('error_other');
}

export function Screen() {
  const [[, by, secret]] = useState(/^#(setup|invite)=(.+)/.exec(location.hash) || []);
  const [shown, setShown] = useState(false);
  const [busy, setBusy] = useState(false);
  const [wrong, setWrong] = useState('');
  const name = /** @type {{current: any}} */ (useRef(null));
  const password = /** @type {{current: any}} */ (useRef(null));

  /** @param {Event} e */
  async function submit(e) {
    e.preventDefault();
    if (busy) return;
    setBusy(true);
    setWrong('');
    try {
      const [api, { alone }, { enter }] = await Promise.all([import('./api.js'), import('./outbox.js'), import('./live.js')]);
      const [who, word] = [name.current.value.trim(), password.current.value];
      await alone(async () => {
        const person = await (by === 'invite' ? api.byInvite(secret, who, word) : by ? api.setup(secret, who, word) : api.login(who, word));
        // Who reads the address later learns nothing.
        if (secret) history.replaceState(null, '', '/');
        remember('name', who);
        enter(person);
      });
    } catch (error) {
      setWrong(reason(error));
      password.current?.focus();
      password.current?.select();
    } finally {
      setBusy(false);
    }
  }
  return html`<main class="login">
    <h1 class="brand">chatd</h1>
    ${by && html`<p class="note">${t(by === 'invite' ? 'invited' : 'first_account')}</p>`}
    ${ended.value && html`<p class="note" role="status">${t('session_ended')}</p>`}
    ${window.isSecureContext ? html`<form onSubmit=${submit}>
      <label for="name">${t('name')}</label>
      <input id="name" ref=${name} name="username" autocomplete="username" autocapitalize="none" autocorrect="off"
        spellcheck=${false} required maxlength="64" defaultValue=${recall('name')} autofocus aria-describedby="wrong" />
      <label for="password">${t('password')}</label>
      <div class="field">
        <input id="password" ref=${password} name="password" type=${shown ? 'text' : 'password'}
          autocomplete=${secret ? 'new-password' : 'current-password'} autocapitalize="none" spellcheck=${false} required
          aria-describedby="wrong" />
        <button type="button" class="link" aria-pressed=${shown} aria-controls="password"
          onClick=${() => setShown(!shown)}>${shown ? t('hide') : t('show')}</button>
      </div>
      <p id="wrong" class="wrong" role="alert">${wrong}</p>
      <button class="wide" aria-disabled=${busy}>${busy ? t('logging_in') : t(secret ? 'make_account' : 'log_in')}</button>
    </form>` : html`<p class="note" role="alert">${t('not_secure')}</p>`}
    <label class="vh" for="lang">${t('language')}</label>
    <select id="lang" value=${setting.lang.value} onChange=${(/** @type {any} */ e) => choose('lang', e.target.value)}>
      ${Object.entries(LANGUAGES).map(([code, called]) => html`<option value=${code} lang=${code}>${called}</option>`)}
    </select>
  </main>`;
}
