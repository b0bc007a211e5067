// Begins: the words, then either the login or the chat.
import { effect, html, render } from '../vendor/preact.js';
import { ended, loadWords, me, setting } from './state.js';

const root = /** @type {HTMLElement} */ (document.getElementById('app'));

/** A part of the page that is no longer on the server: it has another version by now. @param {unknown} error */
function gone(error) {
  if (sessionStorage.getItem('chatd.reloaded')) throw error;
  sessionStorage.setItem('chatd.reloaded', '1');
  location.reload();
}

async function show() {
  const logged = Boolean(me.value);
  const { Screen } = await import(logged ? './frame.js' : './login.js');
  if (logged !== Boolean(me.value)) return;
  render(html`<${Screen} />`, root);
  if (!logged) return;
  const { live } = await import('./live.js');
  await live();
}

await loadWords();
effect(() => { if (setting.lang.value) loadWords(); });
let shown = '';
effect(() => {
  const now = `${me.value?.name ?? ''} ${ended.value}`;
  if (now === shown) return;
  shown = now;
  show().catch(gone);
});
addEventListener('load', () => setTimeout(() => sessionStorage.removeItem('chatd.reloaded'), 10_000));
