// The frame of who is logged in: conversations at the left, what is open at the right; on a phone one at a time. It is what is
// seen first, so all else is loaded by it.
import { html, useEffect, useState } from '../vendor/preact.js';
import { back, chatHref, go, line, loadInnerWords, narrow, outdated, route, sorted, t } from './state.js';

const PATHS = {
  plus: 'M12 5v14M5 12h14',
  menu: 'M4 7h16M4 12h16M4 17h16',
  back: 'M15 5l-7 7 7 7',
  find: 'M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12M20 20l-4.5-4.5',
  send: 'M12 19V5M6 11l6-6 6 6',
  down: 'M12 5v14M6 13l6 6 6-6',
  close: 'M6 6l12 12M18 6L6 18',
  people: 'M9 5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M3 19c0-3 2.5-5 6-5s6 2 6 5M16 5.5a3.5 3.5 0 0 1 0 6M18 14.5c2 .7 3 2.3 3 4.5',
};
/** @param {{name?: keyof typeof PATHS, path?: string}} props */
export const Icon = ({ name, path }) => html`<svg viewBox="0 0 24 24" aria-hidden="true"><path d=${path ?? (name && PATHS[name])} /></svg>`;

/**
 * A round button with a picture.
 * @param {{icon?: keyof typeof PATHS, path?: string, label: string, onClick: () => void, class?: string}} props
 */
export const IconButton = ({ icon, path, label, onClick, class: more = '' }) => html`<button type="button" class=${'icon ' + more}
  aria-label=${label} title=${label} onClick=${onClick}><${Icon} name=${icon} path=${path} /></button>`;

/** The left side. Its rows come with their code. */
function Side() {
  const Tag = narrow.value ? 'main' : 'nav';
  const Title = narrow.value ? 'h1' : 'p';
  const Rows = useCode('list');
  return html`<${Tag} class="side" id=${narrow.value ? 'main' : undefined} aria-label=${t('conversations')}>
    <div class="top">
      <${Title} class="grow brand">chatd</${Title}>
      <${IconButton} icon="find" label=${t('find')} onClick=${() => go('#/find')} />
      <${IconButton} icon="menu" label=${t('settings')} onClick=${() => go('#/settings')} />
    </div>
    ${narrow.value && html`<${Notes} />`}
    ${Rows && html`<${Rows} />`}
  </${Tag}>`;
}

/** What concerns the whole page: no line, or a newer version. */
export function Notes() {
  const [late, setLate] = useState(false);
  const away = line.value !== 'open';
  useEffect(() => {
    // The first moments of a page are no news.
    const timer = setTimeout(() => setLate(away), away && line.value === 'new' ? 3000 : 300);
    return () => clearTimeout(timer);
  }, [away, line.value]);
  return html`<div role="status">
    ${away && late && html`<p class="note">${t('no_line')}</p>`}
    ${outdated.value && html`<p class="note">${t('outdated')} <button type="button" class="link" onClick=${() => location.reload()}>
      ${t('reload')}</button></p>`}
  </div>`;
}

/** The looks and the words of what is inside the frame. */
const words = loadInnerWords();
const looks = new Promise((done) => {
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = new URL('../inner.css', import.meta.url).href;
  link.onload = link.onerror = done;
  document.head.append(link);
});
/** @type {Record<string, any>} */
const codes = {};
/**
 * The screen of a module, undefined until it is loaded. '' is none.
 * @param {string} name
 */
function useCode(name) {
  const [, redraw] = useState(0);
  useEffect(() => {
    if (!name || codes[name]) return;
    Promise.all([import(`./${name}.js`), looks, words]).then(([module]) => {
      codes[name] = module.Screen;
      redraw((n) => n + 1);
    }, () => { if (navigator.onLine) location.reload(); });
  }, [name]);
  return codes[name];
}

/** The right side: what is open. */
function Pane() {
  const { view, name } = route.value;
  const Inside = useCode(view === 'list' ? '' : view);
  return html`<main class="pane" id="main">
    ${Inside ? html`<${Inside} key=${view + '/' + (view === 'chat' || view === 'group' ? name : '')} name=${name} />` : html`
      <div class="top">${view !== 'list' && narrow.value && html`<${Back} />`}<h1 class="vh">chatd</h1></div>
      ${!narrow.value && html`<${Notes} />`}
      <div class="empty middle">${view === 'list' && html`<p>${t('choose')}</p>`}</div>`}
  </main>`;
}
export const Back = () => html`<${IconButton} icon="back" class="back" label=${t('back')} onClick=${back} />`;

/** @param {KeyboardEvent} e */
function keys(e) {
  if (e.isComposing) return;
  if (e.altKey && (e.key === 'ArrowUp' || e.key === 'ArrowDown')) {
    const list = sorted.value;
    const at = list.findIndex((c) => route.value.view === 'chat' && c.name === route.value.name);
    const next = list[at < 0 ? 0 : at + (e.key === 'ArrowUp' ? -1 : 1)];
    if (next) go(chatHref(next.name));
  } else if ((e.ctrlKey || e.metaKey) && !e.altKey && !e.shiftKey && e.key.toLowerCase() === 'k') go('#/find');
  else if (e.key === 'Escape' && route.value.view !== 'list') back();
  else return;
  e.preventDefault();
}

export function Screen() {
  useEffect(() => {
    addEventListener('keydown', keys);
    return () => removeEventListener('keydown', keys);
  }, []);
  const chat = route.value.view === 'chat';
  const open = route.value.view !== 'list';
  return html`
    ${chat && html`<a class="skip" href="#text" onClick=${skip}>${t('to_text')}</a>`}
    <div class="app">
      ${!(narrow.value && open) && html`<${Side} />`}
      ${!(narrow.value && !open) && html`<${Pane} />`}
    </div>`;
}
/** @param {Event} e */
function skip(e) {
  e.preventDefault();
  document.getElementById('text')?.focus();
}
