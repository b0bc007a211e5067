// The words of the screens for one's account and for an administrator. They come after all else, so they have a file of
// their own in each language.
import { effect, signal } from '../../vendor/preact.js';
import { setting, t as common } from '../state.js';

/** @type {import('../../vendor/preact.js').Signal<Record<string, string>>} */
const words = signal({});
/** @param {string} lang */
async function load(lang) {
  const { default: loaded } = await import(`../../lang/${lang}.account.js`);
  if (lang === setting.lang.value) words.value = loaded;
}
await load(setting.lang.value);
effect(() => { load(setting.lang.value).catch(() => { /* the former language stays */ }); });

/**
 * As `t` of state.js, with these words first.
 * @param {string} key @param {Record<string, string | number>} [fill]
 */
export function t(key, fill) {
  const text = words.value[key];
  if (text === undefined) return common(key, fill);
  return fill ? text.replace(/\{(\w+)\}/g, (whole, name) => String(fill[name] ?? whole)) : text;
}
