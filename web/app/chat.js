// One conversation: its head, its messages (log.js) and the box to write in (composer.js).
import { html, useEffect, useRef } from '../vendor/preact.js';
import { Back, IconButton, Notes } from './frame.js';
import { Avatar } from './list.js';
import { count } from './counts.js';
import { load } from './live.js';
import { Composer } from './composer.js';
import { Log } from './log.js';
import { conversations, displayName, go, groups, loaded, narrow, online, part, t } from './state.js';
import { plain } from './text.js';

/** @param {{name: string}} props */
export function Screen({ name }) {
  const group = groups.value.get(name);
  const display = displayName(name);
  const isGroup = Boolean(group || conversations.value.get(name)?.group);
  const heading = /** @type {{current: any}} */ (useRef(null));
  useEffect(() => {
    if (narrow.value) heading.current?.focus();
  }, []);
  useEffect(() => {
    // With the list comes how many are unread, and so how much is loaded.
    if (!loaded.value) return;
    const { list, newer, loading } = part(name).value;
    // What has arrived already, before the code of this view was there, is only the end.
    if (!list.length || newer || loading === 'first') load(name, 'first');
  }, [loaded.value]);
  useEffect(() => (isGroup ? count(name) : undefined), [isGroup]);
  return html`
    <div class="top">
      ${narrow.value && html`<${Back} />`}
      <${Avatar} name=${name} display=${display} />
      <div class="grow">
        <h1 ref=${heading} tabindex="-1" dir="auto">${plain(display)}</h1>
        ${group ? html`<p class="sub">${t('members_n', { n: group.members })}</p>`
          : online.value.has(name) && html`<p class="sub">${t('online')}</p>`}
      </div>
      ${group && html`<${IconButton} icon="people" label=${t('members')} onClick=${() => go('#/group/' + encodeURIComponent(name))} />`}
    </div>
    <${Notes} />
    <${Log} name=${name} />
    <${Composer} name=${name} display=${display} />`;
}
