// The way from the settings to the screens of the account, and for an administrator to those of the server.
import { html, useEffect, useState } from '../../vendor/preact.js';
import * as api from './api.js';
import { t } from './words.js';

const OWN = ['profile', 'tokens', 'hooks'];
const SERVER = ['users', 'groups', 'invites', 'logins', 'health'];

/** @param {{title: string, list: string[]}} props */
const Links = ({ title, list }) => html`<section><h2>${title}</h2><ul class="rows">${list.map((name) => html`<li key=${name}>
  <a class="set go" href=${'#/settings/' + name}><span class="grow">${t('at_' + name)}</span><span aria-hidden="true">›</span></a></li>`)}
</ul></section>`;

export function AccountLinks() {
  const [administers, setAdministers] = useState(false);
  useEffect(() => { api.me().then((me) => setAdministers(me.administrator), () => { /* the stream tells why */ }); }, []);
  return html`<${Links} title=${t('account')} list=${OWN} />
    ${administers && html`<${Links} title=${t('server')} list=${SERVER} />`}`;
}
