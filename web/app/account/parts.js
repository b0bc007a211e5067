// What the screens for one's account and for an administrator are made of.
import { html, useEffect, useRef, useState } from '../../vendor/preact.js';
import { Refused } from '../api.js';
import { Back, Notes } from '../frame.js';
import { heardEnd } from '../live.js';
import { t } from './words.js';

/** The looks of these screens. */
await new Promise((done) => {
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = new URL('../../account.css', import.meta.url).href;
  link.onload = link.onerror = done;
  document.head.append(link);
});

/** @param {{title: string, children?: any}} props */
export function Page({ title, children }) {
  const heading = /** @type {{current: any}} */ (useRef(null));
  useEffect(() => { heading.current?.focus(); }, []);
  return html`<div class="top"><${Back} /><h1 class="grow" ref=${heading} tabindex="-1" dir="auto">${title}</h1></div>
    <${Notes} />
    <div class="page settings account">${children}</div>`;
}

/** Why the server did not do it. @param {unknown} error */
function reason(error) {
  if (!(error instanceof Refused)) return t('error_other');
  if (error.status === 0) return t('no_server');
  if (error.status === 429 && error.code === 'throttled') return t('login_slow', { n: error.after || 10 });
  const own = 'why_' + error.code;
  const text = t(own);
  return text === own ? error.message || t('error_other') : text;
}

/**
 * What the server is asked to do from a screen: whether it is busy, and what went wrong or well.
 * @returns {{busy: boolean, wrong: string, said: string,
 *   act: (work: () => Promise<unknown>, said?: string) => Promise<{error?: any, value?: any}>}}
 */
export function useAct() {
  const [state, setState] = useState({ busy: false, wrong: '', said: '' });
  /** @param {() => Promise<unknown>} work */
  async function act(work, said = '') {
    if (state.busy) return { error: true };
    setState({ busy: true, wrong: '', said: '' });
    try {
      const value = await work();
      setState({ busy: false, wrong: '', said });
      return { value };
    } catch (error) {
      if (!heardEnd(error)) setState({ busy: false, wrong: reason(error), said: '' });
      return { error };
    }
  }
  return { ...state, act };
}

/** How many rows the server tells of at once. */
const PAGE = 1000;
/**
 * A list that the server tells page by page.
 * @template T @param {(after: number) => Promise<{list: T[], next: number | null}>} fetch
 */
export function usePages(fetch) {
  const [pages, setPages] = useState(/** @type {{list: any[], next: number | null, more: boolean} | null} */ (null));
  const { wrong, act } = useAct();
  /** @param {number} after @param {any[]} before */
  const load = (after, before) => act(async () => {
    const { list, next } = await fetch(after);
    setPages({ list: [...before, ...list], next, more: list.length >= PAGE });
  });
  const again = () => load(0, []);
  useEffect(() => { again(); }, []);
  const rest = pages?.more && html`<button type="button" class="wide quiet"
    onClick=${() => load(pages.next ?? 0, pages.list)}>${t('more')}</button>`;
  return { list: /** @type {T[] | null} */ (pages?.list ?? null), again, rest, wrong };
}

/** @param {{id: string, label: string, hint?: string} & Record<string, any>} props */
export const Field = ({ id, label, hint, ...rest }) => html`<label for=${id}>${label}</label>
  <input id=${id} autocomplete="off" aria-describedby=${hint && id + '-hint'} ...${rest} />
  ${hint && html`<p class="hint" id=${id + '-hint'}>${hint}</p>`}`;

/** @param {{id: string, label: string, values: [string, string][]} & Record<string, any>} props */
export const Choice = ({ id, label, values, ...rest }) => html`<label for=${id}>${label}</label>
  <select id=${id} ...${rest}>${values.map(([value, called]) => html`<option value=${value} key=${value}>${called}</option>`)}</select>`;

/** What went wrong, and what went well. @param {{wrong: string, said?: string}} props */
export const Said = ({ wrong, said = '' }) => html`<p role="alert" class="wrong">${wrong}</p><p role="status" class="hint">${said}</p>`;

/** A button that asks once more. @param {{label: string, name?: string, onSure: () => void}} props */
export function Sure({ label, name, onSure }) {
  const [asked, setAsked] = useState(false);
  const text = asked ? t('really', { what: label }) : label;
  return html`<button type="button" class=${asked ? 'link bad' : 'link'} aria-label=${name && `${text}: ${name}`}
    onBlur=${() => setAsked(false)}
    onClick=${() => { if (asked) onSure(); setAsked(!asked); }}>${text}</button>`;
}

/** What is shown once, and never again. @param {{text: string, hint: string}} props */
export function Once({ text, hint }) {
  const [copied, setCopied] = useState(false);
  const box = /** @type {{current: any}} */ (useRef(null));
  useEffect(() => {
    setCopied(false);
    box.current?.focus();
  }, [text]);
  return html`<div class="once" ref=${box} tabindex="-1" role="group" aria-label=${hint}>
    <p>${hint}</p><code dir="ltr">${text}</code>
    <button type="button" class="link" onClick=${() => navigator.clipboard.writeText(text).then(() => setCopied(true), () => {})}>
      ${copied ? t('copied') : t('copy')}</button></div>`;
}

/** @param {SubmitEvent | any} e @returns {Record<string, string>} */
export function fields(e) {
  e.preventDefault();
  return /** @type {any} */ (Object.fromEntries(new FormData(e.target)));
}
