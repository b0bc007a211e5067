// All groups of the server, and one of them.
import { html } from '../../vendor/preact.js';
import { Avatar } from '../list.js';
import { go } from '../state.js';
import { plain } from '../text.js';
import * as api from './api.js';
import { Page, Said, Sure, useAct, usePages } from './parts.js';
import { number } from './units.js';
import { t } from './words.js';

function Groups() {
  const { list, rest, wrong } = usePages(api.groups);
  return html`<${Page} title=${t('at_groups')}>
    ${list?.length === 0 && html`<p class="hint">${t('none_yet')}</p>`}
    <ul class="convs rows">${list?.map((g) => html`<li key=${g.id}>
      <a href=${'#/settings/groups/' + encodeURIComponent(g.name)}><${Avatar} name=${g.name} display=${g.display_name} />
        <span class="who" dir="auto">${plain(g.display_name)}</span><span aria-hidden="true">›</span>
        <span class="last">${g.name} · ${t('member_count', { count: number(g.members) })}</span></a></li>`)}</ul>${rest}
    <${Said} wrong=${wrong} />
  <//>`;
}

/** @param {{name: string}} props */
function Group({ name }) {
  const { list, again, wrong: unloaded } = usePages(async () => ({ list: await api.members(name), next: null }));
  const { act, ...told } = useAct();
  return html`<${Page} title=${name}>
    <${Said} wrong=${told.wrong || unloaded} said=${told.said} />
    <section><h2>${t('member_list')}</h2><ul class="rows">${list?.map((m) => html`<li class="set" key=${m.name}>
      <span class="grow"><span dir="auto">${plain(m.display_name)}</span><span class="hint">${m.name}</span></span>
      <${Sure} label=${t('take_out')} name=${m.name} onSure=${() => act(() => api.removeMember(name, m.name)).then(again)} /></li>`)}</ul>
    </section>
    <section><h2>${t('erase')}</h2>
      <p class="hint">${t('remove_group_hint')}</p>
      <${Sure} label=${t('erase')} name=${name} onSure=${async () => {
        const { error } = await act(() => api.removeGroup(name));
        if (!error) go('#/settings/groups', true);
      }} /></section>
  <//>`;
}

/** @param {{name: string}} props */
export const Screen = ({ name }) => (name ? html`<${Group} name=${name} />` : html`<${Groups} />`);
