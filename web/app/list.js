// The conversations, newest first.
import { Component, html } from '../vendor/preact.js';
import { moreConversations } from './live.js';
import { chatHref, go, loaded, me, moreBefore, online, route, setting, sorted, t } from './state.js';
import { colour, initials, oneLine, plain, when } from './text.js';

/** @param {{name: string, display: string, dot?: boolean}} props */
export const Avatar = ({ name, display, dot }) => html`
  <span class=${'av ' + colour(name)} aria-hidden="true">${initials(display)}${dot && html`<i class="dot" />`}</span>`;

/** The newest message in a line. @param {import('./state.js').Conversation} c */
function preview(c) {
  if (!c.newest) return t('nothing_said');
  const text = oneLine(c.newest.file?.name ?? c.newest.text);
  if (c.newest?.from === me.value?.name) return t('mine', { text });
  return c.group ? `${oneLine(c.newest?.display || c.newest?.from || '')}: ${text}` : text;
}

class Row extends Component {
  /** @param {any} next */
  shouldComponentUpdate(next) {
    const now = /** @type {any} */ (this.props);
    return next.c !== now.c || next.here !== now.here || next.on !== now.on || next.lang !== now.lang;
  }
  /** @param {any} props */
  render({ c, here, on }) {
    return html`<li class=${c.unread ? 'un' : ''}>
      <a href=${chatHref(c.name)} aria-current=${here ? 'page' : undefined}>
        <${Avatar} name=${c.name} display=${c.display} dot=${on} />
        <span class="who" dir="auto">${plain(c.display)}</span>
        ${c.newest ? html`<time datetime=${new Date(c.newest.time).toISOString()}>${when(c.newest.time)}</time>` : html`<span></span>`}
        <span class="last" dir="auto">${preview(c)}</span>
        ${c.unread > 0 && html`<span class="n"><span class="vh">${t('unread')}: </span>${c.unread > 999 ? '999+' : c.unread}</span>`}
      </a></li>`;
  }
}

export function Screen() {
  const list = sorted.value;
  const open = route.value.view === 'chat' ? route.value.name : '';
  return html`<ul class="convs">
      ${list.map((c) => html`<${Row} key=${c.name} c=${c} here=${open === c.name} on=${online.value.has(c.name)}
        lang=${setting.lang.value + t('today')} />`)}
    </ul>
    ${loaded.value && list.length === 0 && html`<div class="empty"><p>${t('nobody_yet')}</p>
      <button type="button" class="wide" onClick=${() => go('#/find')}>${t('begin')}</button></div>`}
    ${moreBefore.value !== null && html`<button type="button" class="wide quiet" onClick=${moreConversations}>${t('more')}</button>`}`;
}
