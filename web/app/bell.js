// A sound and a notification for what arrived while nobody looked. One tab of a browser rings, not all.
import { displayName, focused, go, chatHref, route, setting, t } from './state.js';
import { oneLine } from './text.js';

/** @type {AudioContext | undefined} */
let audio;
/** Two short tones. */
export function sound() {
  audio ??= new AudioContext();
  if (audio.state === 'suspended') audio.resume();
  const now = audio.currentTime;
  for (const [pitch, begin] of [[660, 0], [880, 0.12]]) {
    const tone = audio.createOscillator();
    const volume = audio.createGain();
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0, now + begin);
    volume.gain.linearRampToValueAtTime(0.12, now + begin + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, now + begin + 0.22);
    tone.connect(volume).connect(audio.destination);
    tone.start(now + begin);
    tone.stop(now + begin + 0.25);
  }
}
/** @param {string} name @param {string} title @param {string} body */
export async function notify(name, title, body) {
  const options = { body, tag: name, icon: new URL('../icon.png', import.meta.url).pathname, data: chatHref(name) };
  const worker = await navigator.serviceWorker?.getRegistration();
  if (worker) return worker.showNotification(title, options);
  const shown = new Notification(title, options);
  shown.onclick = () => {
    window.focus();
    go(chatHref(name));
    shown.close();
  };
}

/** @param {import('./state.js').Message} m */
export async function ring(m) {
  const looking = () => focused.value && route.value.view === 'chat' && route.value.name === m.conversation;
  if (!looking()) await new Promise((done) => setTimeout(done, 200));
  // The first that takes the lock answers for all tabs; who looks at the conversation takes it and is silent.
  await navigator.locks.request('chatd-bell-' + m.id, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    if (!looking()) {
      if (setting.sound.value === 'on') sound();
      if (setting.notify.value === 'on' && !focused.value && window.Notification?.permission === 'granted') {
        const text = setting.preview.value === 'on' ? oneLine(m.file?.name ?? m.text) : t('a_message');
        await notify(m.conversation, oneLine(m.display || displayName(m.conversation)), text);
      }
    }
    await new Promise((done) => setTimeout(done, 2000));
  }).catch(() => {});
}
