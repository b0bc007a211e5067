// How the server is doing.
import { html, useEffect, useState } from '../../vendor/preact.js';
import * as api from './api.js';
import { Page, Said, useAct } from './parts.js';
import { number, size } from './units.js';
import { t } from './words.js';

const COUNTS = ['users', 'sessions', 'unread_messages', 'accepted', 'delivered', 'lost', 'damaged'];
const SIZES = ['unread_bytes', 'free_bytes'];

export function Screen() {
  const [figures, setFigures] = useState(/** @type {Record<string, any> | null} */ (null));
  const { busy, wrong, act } = useAct();
  const load = () => act(async () => setFigures(await api.health()));
  useEffect(() => { load(); }, []);
  const rows = figures && [[t('figure_version'), figures.version],
    ...COUNTS.map((key) => [t('figure_' + key), number(figures[key])]),
    ...SIZES.filter((key) => figures[key] !== null).map((key) => [t('figure_' + key), size(figures[key])])];
  return html`<${Page} title=${t('at_health')}>
    <${Said} wrong=${wrong} />
    ${figures && html`<p role="status" class=${figures.status === 'ok' ? 'state' : 'state bad'}>${t('status_' + figures.status)}</p>
      <dl class="figures">${rows?.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      <p class="hint">${t('figures_hint')}</p>`}
    <button type="button" class="wide quiet" aria-disabled=${busy} onClick=${load}>${t('look_again')}</button>
  <//>`;
}
