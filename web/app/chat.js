// One conversation: its head, its messages (log.js) and the box to write in (composer.js).
import { html, useEffect, useRef } from '../vendor/preact.js';
import { Back, Notes } from './frame.js';
import { Avatar } from './list.js';
import { load } from './live.js';
import { Composer } from './composer.js';
import { Log } from './log.js';
import { conversations, loaded, narrow, online, part, t } from './state.js';
import { plain } from './text.js';

/** @param {{name: string}} props */
export function Screen({ name }) {
  const conversation = conversations.value.get(name);
  const display = conversation?.display ?? name;
  const heading = /** @type {{current: any}} */ (useRef(null));
  useEffect(() => {
    if (narrow.value) heading.current?.focus();
  }, []);
  useEffect(() => {
    // With the list comes how many are unread, and so how much is loaded.
    if (!loaded.value) return;
    const { list, newer } = part(name).value;
    if (!list.length || newer) load(name, 'first');
  }, [loaded.value]);
  return html`
    <div class="top">
      ${narrow.value && html`<${Back} />`}
      <${Avatar} name=${name} display=${display} />
      <div class="grow">
        <h1 ref=${heading} tabindex="-1" dir="auto">${plain(display)}</h1>
        ${online.value.has(name) && html`<p class="sub">${t('online')}</p>`}
      </div>
    </div>
    <${Notes} />
    <${Log} name=${name} />
    <${Composer} name=${name} display=${display} />`;
}
