// Keyboard shortcuts, and the dialog that lists them.

import { byId } from './dom.js';

const TYPED = 'input:not([type=checkbox]):not([type=range]), textarea, select';

/** Listens for shortcuts. */
export function listenForKeys({ takes, player, recorder, live }) {
  const dialog = byId('keys');
  byId('show-keys').addEventListener('click', () => dialog.showModal());
  const actions = {
    ' ': () => player.playback?.toggle(),
    ArrowLeft: () => player.playback?.step(-1),
    ArrowRight: () => player.playback?.step(1),
    Home: () => player.playback?.seek(0),
    End: () => player.playback?.seek(player.playback.seconds),
    j: () => takes.step(1),
    k: () => takes.step(-1),
    r: () => recorder.toggle(),
    l: () => live.toggle(),
    w: () => byId('wireframe').click(),
    '?': () => dialog.showModal(),
  };
  for (let k = 0; k < 4; k++) actions[String(k + 1)] = () => player.showView(k);
  document.addEventListener('keydown', (event) => {
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const target = event.target;
    if (target.matches?.(TYPED)) return;
    // Keys that belong to the focused element.
    if (event.key === ' ' && target.closest?.('button, summary, [type=checkbox]')) return;
    if (event.key.length > 1 && target.closest?.('canvas, [type=range], [role=slider], pre')) return;
    event.preventDefault();
    action();
  });
}
