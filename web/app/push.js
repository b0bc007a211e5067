// Told with the page closed: the push service of the browser, and what the server has to know of it.
import * as api from './api.js';
import { setting } from './state.js';

const possible = 'PushManager' in window && Boolean(navigator.serviceWorker);
/** iPhones and iPads can only where the page was put on the home screen. */
export const wantsInstall = !possible && /iPhone|iPad/.test(navigator.userAgent);

/** @param {string} text  base64url */
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
/** @param {ArrayBuffer | null | undefined} one @param {Uint8Array} other */
const same = (one, other) => Boolean(one) && String(new Uint8Array(/** @type {ArrayBuffer} */ (one))) === String(other);

/** Tells the server where this browser is told; throws where it cannot be. */
export async function subscribe() {
  if (!possible) throw new Error('no push');
  const { pushManager } = await navigator.serviceWorker.ready;
  const key = bytes(await api.pushKey());
  let found = await pushManager.getSubscription();
  // The server has another key: its database is a new one.
  if (found && !same(found.options.applicationServerKey, key)) {
    await found.unsubscribe();
    found = null;
  }
  found ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  const { endpoint, keys } = found.toJSON();
  await api.subscribe({ endpoint, p256dh: keys?.p256dh, auth: keys?.auth, with_text: setting.preview.value === 'on' });
}
/** @param {boolean} tell  the server, too; with the session its subscriptions end by themselves */
export async function unsubscribe(tell) {
  const worker = await navigator.serviceWorker?.getRegistration();
  const found = await worker?.pushManager?.getSubscription();
  if (!found) return;
  if (tell) await api.unsubscribe(found.endpoint).catch(() => { /* its service will say that it is gone */ });
  await found.unsubscribe();
}
