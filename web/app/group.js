// A group: who is in it, and what its members and its owner do with it.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import * as api from './api.js';
import { Back, Notes } from './frame.js';
import { Avatar } from './list.js';
import { heardEnd, refresh, refreshGroups } from './live.js';
import { why } from './newgroup.js';
import { chatHref, displayName, go, groups, me, narrow, t } from './state.js';
import { plain } from './text.js';

/** Members that are shown at first, and more each time. */
const SHOWN = 100;
/** So long nothing is typed before the server is asked. */
const PAUSE = 200;

/**
 * A button that asks once more before it does what cannot be undone.
 * @param {{label: string, name?: string, question: string, yes: string, wide?: boolean, work: () => Promise<unknown>}} props
 */
function Sure({ label, name, question, yes, wide = false, work }) {
  const [asked, setAsked] = useState(false);
  const sure = /** @type {{current: any}} */ (useRef(null));
  useEffect(() => { if (asked) sure.current?.focus(); }, [asked]);
  if (!asked) {
    return html`<button type="button" class=${wide ? 'wide quiet' : 'link'} aria-label=${name}
      onClick=${() => setAsked(true)}>${label}</button>`;
  }
  /** @param {KeyboardEvent} e */
  const key = (e) => {
    if (e.key !== 'Escape') return;
    e.stopPropagation();
    setAsked(false);
  };
  return html`<span class="sure" role="group" aria-label=${question} onKeyDown=${key}><span class="bad">${question}</span>
    <button type="button" class="link" ref=${sure} aria-label=${`${question} ${yes}`}
      onClick=${() => work().then(() => setAsked(false))}>${yes}</button>
    <button type="button" class="link" onClick=${() => setAsked(false)}>${t('cancel')}</button></span>`;
}

/** @param {{group: string, members: api.Member[], work: (work: () => Promise<unknown>) => Promise<boolean>}} props */
function Invite({ group, members, work }) {
  const field = /** @type {{current: any}} */ (useRef(null));
  const [q, setQ] = useState('');
  const [found, setFound] = useState(/** @type {import('./state.js').Person[]} */ ([]));
  useEffect(() => {
    let current = true;
    const timer = setTimeout(async () => {
      // A server that does not list its users takes whole names.
      const people = q.trim() ? await api.people(q.trim()).catch(() => []) : [];
      if (current) setFound(people.filter((p) => !members.some((m) => m.name === p.name)).slice(0, 5));
    }, PAUSE);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [q, members]);
  /** @param {string} name */
  async function invite(name) {
    if (name && await work(() => api.invite(group, name))) setQ('');
    field.current?.focus();
  }
  /** @param {Event} e */
  const submit = (e) => {
    e.preventDefault();
    invite(q.trim());
  };
  return html`<form onSubmit=${submit} autocomplete="off">
      <label for="invite">${t('invite')}</label>
      <div class="field"><input id="invite" ref=${field} value=${q} autocapitalize="none" spellcheck=${false} placeholder=${t('name')}
        onInput=${(/** @type {any} */ e) => setQ(e.target.value)} aria-describedby="group-wrong" />
        <button class="link">${t('add')}</button></div>
    </form>
    ${found.length > 0 && html`<ul class="rows picks" aria-label=${t('invite')}>${found.map((p) => html`<li key=${p.name}>
      <button type="button" onClick=${() => invite(p.name)}><span class="vh">${t('add')} </span>
        <${Avatar} name=${p.name} display=${p.display} /><span class="grow"><span class="who" dir="auto">${plain(p.display)}</span>
        <span class="hint">${p.name}</span></span></button></li>`)}</ul>`}`;
}

/** @param {{name: string}} props */
export function Screen({ name }) {
  const group = groups.value.get(name);
  const [members, setMembers] = useState(/** @type {api.Member[] | null} */ (null));
  const [shown, setShown] = useState(SHOWN);
  const [wrong, setWrong] = useState('');
  const heading = /** @type {{current: any}} */ (useRef(null));
  /**
   * Does something, and shows who is in the group after it.
   * @param {() => Promise<unknown>} [first]
   */
  async function work(first) {
    setWrong('');
    try {
      await first?.();
      const [list] = await Promise.all([api.members(name), refreshGroups()]);
      setMembers(list);
      return true;
    } catch (e) {
      if (!heardEnd(e)) setWrong(why(e));
      return false;
    }
  }
  /** The group is no more, for me. @param {(name: string) => Promise<unknown>} how */
  async function end(how) {
    setWrong('');
    try {
      await how(name);
      await refreshGroups();
      refresh();
      go('#/', true);
    } catch (e) {
      if (!heardEnd(e)) setWrong(why(e));
    }
  }
  useEffect(() => {
    heading.current?.focus();
    work();
  }, []);
  const display = displayName(name);
  /** @param {any} e */
  const rename = (e) => {
    e.preventDefault();
    const wanted = e.target.elements.namedItem('display').value.trim();
    if (wanted) work(() => api.renameGroup(name, wanted)).then((done) => { if (done) refresh(); });
  };
  return html`<div class="top"><${Back} /><h1 class="grow" ref=${heading} tabindex="-1" dir="auto">${plain(display)}</h1></div>
    <${Notes} />
    <div class="page settings group">
      <div class="self"><${Avatar} name=${name} display=${display} />
        <div class="grow"><p class="who" dir="auto">${plain(display)}</p>
          <p class="hint">${name}${members ? ' · ' + t('members_n', { n: members.length }) : ''}</p></div>
        ${group && html`<a class="link" href=${chatHref(name)}>${t('to_conversation')}</a>`}</div>
      <p id="group-wrong" class="wrong" role="alert">${wrong}</p>
      ${members && html`<section><h2>${t('members')}</h2>
        <${Invite} group=${name} members=${members} work=${work} />
        <ul class="rows">${members.slice(0, shown).map((m) => html`<li class="set" key=${m.name}>
          <${Avatar} name=${m.name} display=${m.display} dot=${m.online} />
          <span class="grow"><span class="who" dir="auto">${plain(m.display)}</span>
            <span class="hint">${m.name}${m.owner ? ' · ' + t('owner') : ''}
            ${m.online && html`<span class="vh"> · ${t('online')}</span>`}</span></span>
          ${group?.mine && m.name !== me.value?.name && html`<${Sure} label=${t('remove')}
            name=${t('remove_name', { name: plain(m.display) })}
            question=${t('remove_sure', { name: plain(m.display) })} yes=${t('remove')}
            work=${() => work(() => api.removeMember(name, m.name))} />`}
        </li>`)}</ul>
        ${members.length > shown && html`<button type="button" class="wide quiet"
          onClick=${() => setShown(shown + SHOWN)}>${t('more')}</button>`}
      </section>`}
      ${group?.mine && html`<section><h2>${t('shown_name')}</h2><form onSubmit=${rename} autocomplete="off">
        <label class="vh" for="display">${t('shown_name')}</label>
        <div class="field"><input id="display" name="display" required maxlength="128" defaultValue=${display}
          aria-describedby="group-wrong" />
          <button class="link">${t('save')}</button></div></form></section>`}
      ${group && html`<section class="ends"><h2>${t('this_group')}</h2>
        <${Sure} wide label=${t('leave_group')} question=${t('leave_sure')} yes=${t('leave')} work=${() => end(api.leaveGroup)} />
        ${group.mine && html`<${Sure} wide label=${t('delete_group')} question=${t('delete_sure')} yes=${t('delete')}
          work=${() => end(api.deleteGroup)} />`}
      </section>`}
    </div>`;
}
