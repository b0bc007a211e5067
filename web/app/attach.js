// Files that are chosen, pasted or dropped, until they are sent with what is typed.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { IconButton } from './frame.js';
import { fileBytes, t } from './state.js';
import { plain, size } from './text.js';

const CLIP = 'M20 11l-8 8a5 5 0 0 1-7-7l8-8a3.4 3.4 0 0 1 5 5l-8 8a1.8 1.8 0 0 1-2.6-2.6L14.5 8';
const CAMERA = 'M4 8h3l1.5-2.5h7L17 8h3v11H4zM12 10a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 0 0 0-6.4';
const touch = matchMedia('(pointer: coarse)');

/**
 * The files, and what changes them.
 * @param {(why: string) => void} fail
 */
export function useTray(fail) {
  const [files, setFiles] = useState(/** @type {File[]} */ ([]));
  const [over, setOver] = useState(false);
  const now = /** @type {{current: File[]}} */ (useRef(files));
  now.current = files;
  /** @param {Iterable<File>} more */
  function add(more) {
    const most = fileBytes.value;
    const all = [...more];
    const large = most < 0 ? undefined : all.find((file) => file.size > most);
    fail(large ? t('file_too_large', { name: plain(large.name), most: size(most) }) : '');
    setFiles((old) => [...old, ...all.filter((file) => most < 0 || file.size <= most)]);
  }
  /** Whatever is dropped on the page while a conversation is open goes there; else the browser would leave the page. */
  useEffect(() => {
    const has = (/** @type {DragEvent} */ e) => e.dataTransfer?.types.includes('Files');
    const enter = (/** @type {DragEvent} */ e) => {
      if (!has(e)) return;
      e.preventDefault();
      setOver(true);
    };
    const leave = (/** @type {DragEvent} */ e) => { if (!e.relatedTarget) setOver(false); };
    const drop = (/** @type {DragEvent} */ e) => {
      if (!has(e)) return;
      e.preventDefault();
      setOver(false);
      add(e.dataTransfer?.files ?? []);
      document.getElementById('text')?.focus();
    };
    const heard = /** @type {[string, any][]} */ ([['dragover', enter], ['dragleave', leave], ['drop', drop]]);
    for (const [event, listener] of heard) addEventListener(event, listener);
    return () => { for (const [event, listener] of heard) removeEventListener(event, listener); };
  }, []);
  return {
    files, over, add,
    /** @param {File} file */
    remove: (file) => setFiles((old) => old.filter((one) => one !== file)),
    take() {
      setFiles([]);
      return now.current;
    },
    /** @param {ClipboardEvent} e */
    paste(e) {
      const pasted = e.clipboardData?.files;
      if (!pasted?.length) return;
      e.preventDefault();
      add(pasted);
    },
  };
}
/** @typedef {ReturnType<typeof useTray>} TrayState */

/** What is chosen. @param {{tray: TrayState}} props */
export const Tray = ({ tray }) => html`
  ${tray.over && html`<div class="drop" aria-hidden="true">${t('drop_here')}</div>`}
  ${tray.files.length > 0 && html`<ul class="tray" aria-label=${t('files')}>${tray.files.map((file) => html`<li key=${file}>
    <span class="name" dir="auto">${plain(file.name)}</span> <span class="size">${size(file.size)}</span>
    <${IconButton} icon="close" label=${t('remove_file', { name: plain(file.name) })} onClick=${() => tray.remove(file)} /></li>`)}</ul>`}`;

/** What opens the browser's choice of files, and on a phone the camera. @param {{tray: TrayState, typing: boolean}} props */
export function Buttons({ tray, typing }) {
  const [any, camera] = [useRef(null), useRef(null)].map((ref) => /** @type {{current: any}} */ (ref));
  /** @param {any} e */
  const chosen = (e) => {
    tray.add(e.target.files);
    // The same file may be chosen again.
    e.target.value = '';
    if (!touch.matches) document.getElementById('text')?.focus();
  };
  if (fileBytes.value === 0) return null;
  return html`<input type="file" multiple hidden ref=${any} onChange=${chosen} />
    <${IconButton} path=${CLIP} label=${t('attach')} onClick=${() => any.current.click()} />
    ${touch.matches && !typing && html`<input type="file" accept="image/*" capture="environment" hidden ref=${camera} onChange=${chosen} />
      <${IconButton} path=${CAMERA} label=${t('take_photo')} onClick=${() => camera.current.click()} />`}`;
}
