// One stream for all tabs of this browser. The tab with the lock `chatd-stream` leads: it has the line to the server and
// passes on what it hears. A leader that is frozen or gone is replaced.
import { eventsUrl, whoAmI } from './api.js';
import { line } from './state.js';

/** A line on which nothing was heard for so long is dead; the server pings each 15 s. */
const SILENCE = 40_000;
const FIRST_RETRY = 1_000;
const LAST_RETRY = 30_000;
/** How long a leader may take to answer. */
const ANSWER = 3_000;
const EVENTS = ['hello', 'message', 'read', 'presence', 'ended', 'reset', 'ping'];

const channel = new BroadcastChannel('chatd-stream');
/** @type {(name: string, data: any) => void} */
let handle = () => {};
let running = false;
let listening = false;
/** The newest message that this tab knows of. */
let newest = 0;
/** What the leader does. null: another tab leads. @type {Leader | null} */
let leader = null;
/** When anything was heard of the leader. */
let heard = 0;

/** The stream need not tell of messages up to this one. @param {number} id */
export function seen(id) { if (id > newest) newest = id; }
export const known = () => newest;

/** @param {string} name @param {any} data */
function take(name, data) {
  if (name === 'message') seen(data.id);
  if (name !== 'ping') handle(name, data);
}
/** @param {'open' | 'lost'} state */
function tell(state) {
  line.value = state;
  channel.postMessage({ line: state });
}

class Leader {
  constructor() {
    this.tries = 0;
    /** @type {EventSource | null} */
    this.source = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.last = Date.now();
    /** @type {Promise<void>} */
    this.over = new Promise((done) => { this.finish = done; });
    this.connect();
  }
  connect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.after = newest;
    const source = this.source = new EventSource(eventsUrl(newest));
    for (const name of EVENTS) {
      source.addEventListener(name, (e) => {
        if (this.source === source) this.hear(name, /** @type {MessageEvent} */ (e).data);
      });
    }
    source.onerror = () => { if (this.source === source) this.fail(); };
    this.watch();
  }
  watch() {
    clearTimeout(this.timer);
    this.last = Date.now();
    this.timer = setTimeout(() => this.fail(), SILENCE);
  }
  /** @param {string} name @param {string} text */
  hear(name, text) {
    this.watch();
    let data;
    try { data = text ? JSON.parse(text) : {}; } catch { return; }
    if (name === 'hello') {
      this.tries = 0;
      data.after = this.after;
      tell('open');
    }
    channel.postMessage({ event: name, data });
    take(name, data);
  }
  fail() {
    this.source?.close();
    this.source = null;
    tell('lost');
    const most = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** this.tries++);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.again(), most / 2 + Math.random() * most / 2);
  }
  /** An EventSource does not tell why it failed, so it is asked first. */
  async again() {
    clearTimeout(this.timer);
    try {
      await whoAmI();
      if (leader === this) this.connect();
    } catch (e) {
      if (leader !== this) return;
      if (/** @type {any} */ (e).status === 401) this.hear('ended', '');
      else this.fail();
    }
  }
  /** Somebody looks at the page, or the network is back. */
  kick() {
    if (this.source && Date.now() - this.last < SILENCE) {
      tell(line.value === 'open' ? 'open' : 'lost');
      return;
    }
    this.source?.close();
    this.source = null;
    this.tries = 0;
    tell('lost');
    this.again();
  }
  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.finish?.();
  }
}

/** @param {boolean} steal  from a leader that does not answer */
function lead(steal) {
  navigator.locks.request('chatd-stream', { steal }, async () => {
    if (!running || leader) return;
    leader = new Leader();
    await leader.over;
  }).catch(() => {
    // The lock was taken away: follow, and wait for it again.
    leader?.close();
    leader = null;
    if (running) lead(false);
  });
}

function kick() {
  if (!running || document.hidden) return;
  if (leader) return leader.kick();
  const asked = Date.now();
  channel.postMessage({ kick: true });
  setTimeout(() => { if (running && !leader && heard < asked) lead(true); }, ANSWER);
}

channel.onmessage = ({ data }) => {
  if (data.kick) {
    if (leader) leader.kick();
    return;
  }
  heard = Date.now();
  if (!listening || leader) return;
  if (data.line) line.value = data.line;
  if (data.event) take(data.event, data.data);
};
addEventListener('online', kick);
document.addEventListener('visibilitychange', kick);
addEventListener('pageshow', kick);
addEventListener('offline', () => leader?.fail());

/** Hears what another tab passes on. @param {(name: string, data: any) => void} handler */
export function listen(handler) {
  handle = handler;
  listening = true;
}
/** Leads, or waits for it. */
export function start() {
  if (running) return;
  running = true;
  lead(false);
  kick();
}
export function stop() {
  running = listening = false;
  newest = 0;
  leader?.close();
  leader = null;
}
