// Sends a file. Not by fetch, which does not tell how far it is.
import { Refused, filesUrl } from './api.js';

/** A line on which nothing moves for so long is dead. */
const SILENCE = 60_000;

/** What is being sent, by key. @type {Map<string, XMLHttpRequest>} */
const inHand = new Map();
/** Stops a file on its way. @param {string} key */
export const stop = (key) => inHand.get(key)?.abort();

/**
 * @param {import('./state.js').Unsent} item @param {(part: number) => void} tell  of 1
 * @returns {Promise<{id: number, time: number, file: import('./state.js').SentFile}>}
 */
export function upload({ conversation, key, file }, tell) {
  const request = new XMLHttpRequest();
  inHand.set(key, request);
  /** @type {ReturnType<typeof setTimeout>} */
  let silent;
  const watch = () => {
    clearTimeout(silent);
    silent = setTimeout(() => request.abort(), SILENCE);
  };
  return new Promise((done, fail) => {
    request.open('POST', filesUrl(conversation, file?.name ?? '', key));
    request.setRequestHeader('Content-Type', 'application/octet-stream');
    request.responseType = 'json';
    request.upload.onprogress = (e) => {
      watch();
      if (e.lengthComputable) tell(e.loaded / e.total);
    };
    request.onload = () => {
      const { status, response } = request;
      if (status < 300 && response) return done(response);
      const after = Number(request.getResponseHeader('Retry-After')) || 0;
      fail(new Refused(status, response?.error ?? 'other', response?.message ?? '', after));
    };
    request.onerror = request.onabort = () => fail(new Refused(0, 'network', ''));
    request.onloadend = () => {
      clearTimeout(silent);
      inHand.delete(key);
    };
    watch();
    request.send(file);
  });
}
