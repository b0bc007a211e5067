// The box to write in. What is typed is kept at each key, by account and conversation.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { Buttons, Tray, useTray } from './attach.js';
import { Icon } from './frame.js';
import * as outbox from './outbox.js';
import { me, narrow, recall, remember, t } from './state.js';
import { plain } from './text.js';

/** With a finger, Enter is a new line. */
const touch = matchMedia('(pointer: coarse)');
const grows = CSS.supports('field-sizing', 'content');

/** @param {string} name */
const draftKey = (name) => `draft/${me.value?.name}/${name}`;

/** Puts a text into the box that is open, after what is there. @param {string} text */
export function insert(text) {
  const box = /** @type {HTMLTextAreaElement | null} */ (document.getElementById('text'));
  if (!box) return;
  box.value = box.value ? box.value + '\n' + text : text;
  box.dispatchEvent(new Event('input', { bubbles: true }));
  box.focus();
}

/** @param {{name: string, display: string}} props */
export function Composer({ name, display }) {
  const box = /** @type {{current: HTMLTextAreaElement | any}} */ (useRef(null));
  const [empty, setEmpty] = useState(true);
  const [failed, setFailed] = useState('');
  const tray = useTray(setFailed);
  useEffect(() => {
    box.current.value = recall(draftKey(name));
    typed();
    if (!narrow.value && !touch.matches) box.current.focus();
  }, []);
  function typed() {
    const text = box.current.value;
    remember(draftKey(name), text || null);
    setEmpty(!text.trim());
    if (!grows) box.current.rows = Math.min(8, text.split('\n').length);
  }
  /** @param {Event} [e] */
  async function send(e) {
    e?.preventDefault();
    const text = box.current.value.trim();
    const files = tray.take();
    if (!text && !files.length) return;
    box.current.value = '';
    setEmpty(true);
    setFailed('');
    for (const file of files) {
      await outbox.put(name, '', file).catch(() => {
        tray.add([file]);
        setFailed(t('file_not_kept', { name: plain(file.name) }));
      });
    }
    try {
      if (text) await outbox.put(name, text);
    } catch {
      insert(text);
      setFailed(t('not_kept'));
    }
    typed();
    box.current.focus();
  }
  /** @param {KeyboardEvent} e */
  function key(e) {
    if (e.key === 'Enter' && !e.shiftKey && !e.ctrlKey && !e.altKey && !e.isComposing && !touch.matches) send(e);
  }
  return html`<form class="composer" onSubmit=${send}>
    <${Tray} tray=${tray} />
    <${Buttons} tray=${tray} typing=${!empty} />
    <label class="vh" for="text">${t('message_to', { name: plain(display) })}</label>
    <textarea id="text" ref=${box} rows="1" placeholder=${t('message')} dir="auto" enterkeyhint=${touch.matches ? 'enter' : 'send'}
      onInput=${typed} onKeyDown=${key} onPaste=${tray.paste}
      aria-describedby="unkept"></textarea>
    <button class="send" aria-label=${t('send')} title=${t('send')}
      aria-disabled=${empty && !tray.files.length}><${Icon} name="send" /></button>
    <p id="unkept" class="wrong" role="alert">${failed}</p>
  </form>`;
}
