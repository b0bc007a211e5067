// A file in a conversation: a picture where a browser shows such ones and runs nothing in them, else a name to keep it by.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { fileUrl } from './api.js';
import { Icon, IconButton } from './frame.js';
import { progress } from './outbox.js';
import { t } from './state.js';
import { plain, size } from './text.js';

/** The server says so only of these what they are. */
const PICTURES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
const PAPER = 'M6 3h8l5 5v13H6zM14 3v5h5';
const DOWN = 'M12 4v12M6 11l6 6 6-6M5 20h14';

/** @param {{file: import('./state.js').SentFile}} props */
export function FileBody({ file }) {
  const [failed, setFailed] = useState(false);
  const [open, setOpen] = useState(false);
  const name = plain(file.name);
  if (failed || !PICTURES.has(file.type)) {
    return html`<a class="file" href=${fileUrl(file.id)} download=${file.name}><${Icon} path=${PAPER} />
      <span class="grow"><span class="name" dir="auto">${name}</span><span class="size">${size(file.bytes)}</span></span>
      <span class="vh">, ${t('download')}</span></a>`;
  }
  return html`<button type="button" class="pic" onClick=${() => setOpen(true)} aria-label=${t('show_picture', { name })}>
      <img src=${fileUrl(file.id)} alt="" loading="lazy" decoding="async" onError=${() => setFailed(true)} /></button>
    ${open && html`<${Picture} file=${file} close=${() => setOpen(false)} />`}`;
}

/** A picture alone, as large as there is room. @param {{file: import('./state.js').SentFile, close: () => void}} props */
function Picture({ file, close }) {
  const dialog = /** @type {{current: any}} */ (useRef(null));
  useEffect(() => { dialog.current.showModal(); }, []);
  /** Escape closes this alone. @param {KeyboardEvent} e */
  const key = (e) => e.stopPropagation();
  /** @param {Event} e */
  const beside = (e) => { if (e.target === dialog.current) dialog.current.close(); };
  return html`<dialog ref=${dialog} class="picture" aria-label=${plain(file.name)} onClose=${close} onKeyDown=${key} onClick=${beside}>
    <div class="top"><p class="grow who" dir="auto">${plain(file.name)}</p>
      <a class="icon" href=${fileUrl(file.id)} download=${file.name} aria-label=${t('download')} title=${t('download')}>
        <${Icon} path=${DOWN} /></a>
      <${IconButton} icon="close" label=${t('close')} onClick=${() => dialog.current.close()} /></div>
    <img src=${fileUrl(file.id)} alt=${t('picture')} />
  </dialog>`;
}

/** A file that the server has not. @param {{item: import('./state.js').Unsent, file: File}} props */
export function WaitingFile({ item, file }) {
  const part = progress.value.get(item.key);
  return html`<span class="file"><${Icon} path=${PAPER} />
    <span class="grow"><span class="name" dir="auto">${plain(file.name)}</span><span class="size">${size(file.size)}</span>
      ${part !== undefined && html`<progress max="1" value=${part} aria-label=${t('sending_file', { name: plain(file.name) })} />`}</span>
  </span>`;
}
