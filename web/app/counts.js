// How many of a group have read what I wrote. The stream does not tell of each reader, so it is asked while somebody looks.
import * as api from './api.js';
import { focused, line, me, part } from './state.js';

/** Messages that are asked about: the newest. */
const ASKED = 50;
const PAUSE = 10_000;
/** A message that was just sent is asked about sooner. */
const SOON = 1_000;

/**
 * Keeps the counts of a group that is open fresh.
 * @param {string} name
 * @returns {() => void} ends it
 */
export function count(name) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let over = false;
  async function look() {
    const own = part(name).peek().list.slice(-ASKED).filter((m) => m.from === me.peek()?.name);
    const open = own.filter((m) => m.of === undefined || (m.readBy ?? 0) < m.of);
    if (open.length && focused.peek() && line.peek() === 'open') {
      try {
        put(name, await api.messages(name, { limit: ASKED }));
      } catch { /* asked again */ }
    }
    if (!over) timer = setTimeout(look, open.some((m) => m.of === undefined) ? SOON : PAUSE);
  }
  timer = setTimeout(look, SOON);
  return () => {
    over = true;
    clearTimeout(timer);
  };
}

/** @param {string} name @param {import('./state.js').Message[]} fresh */
function put(name, fresh) {
  const here = part(name);
  const found = new Map(fresh.map((m) => [m.id, m]));
  const list = here.value.list.map((m) => {
    const now = found.get(m.id);
    return now && (now.readBy !== m.readBy || now.of !== m.of) ? { ...m, readBy: now.readBy, of: now.of } : m;
  });
  if (list.some((m, i) => m !== here.value.list[i])) here.value = { ...here.value, list };
}
