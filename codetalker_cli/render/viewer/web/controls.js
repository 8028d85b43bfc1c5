// The controls below the faces, and the keys.

import { VIEWS } from './framing.js';

const SPEEDS = [[1, 'normal speed'], [0.5, '1/2 speed'], [0.25, '1/4 speed'], [0.1, '1/10 speed']];
const KEYS = [
  ['Space', 'play or pause'], ['← →', 'one frame back or forward'],
  ['Shift ← →', 'one second back or forward'], ['Home, End', 'first or last frame'],
  ['1 2 3 4', 'front, three-quarter, profile or mouth view'], ['W', 'wireframe'],
  ['S', 'next slower speed'], ['L', 'repeat'], ['M', 'sound on or off'],
  ['on a face: arrows, + −', 'turn and zoom the face'],
];

function element(parent, tag, properties = {}, text = '') {
  const made = Object.assign(document.createElement(tag), properties);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

/** Returns minutes and seconds with hundredths, which are not rounded up. */
function clock(seconds) {
  const hundredths = Math.floor(seconds * 100 + 1e-6);
  const rest = ((hundredths % 6000) / 100).toFixed(2).padStart(5, '0');
  return `${Math.floor(hundredths / 6000)}:${rest}`;
}

export class Controls {
  constructor(root, viewer, { hasSound }) {
    this._viewer = viewer;
    this._playback = viewer.playback;
    this._bar = element(root, 'div', { className: 'controls' });
    this._bar.setAttribute('role', 'group');
    this._bar.setAttribute('aria-label', 'Playback');
    this._makePlayback();
    this._makePictures(hasSound);
    // Shortcuts of single keys can be turned off, for those who speak their input or hit keys by
    // mistake (WCAG 2.1.4).
    this._shortcuts = this._box('Keys', () => {});
    this._shortcuts.checked = true;
    this._makeHelp(root);
    // The keys work on the whole page if the viewer is all that it contains.
    this._keys = document.querySelectorAll('.codetalker-viewer').length > 1
      || root.dataset.embedded !== undefined ? root : document;
    this._onKey = (event) => this._key(event);
    this._keys.addEventListener('keydown', this._onKey);
    this._onState = () => this.update();
    this._playback.addEventListener('state', this._onState);
  }

  _makePlayback() {
    const playback = this._playback;
    this._play = this._button('Play', () => playback.toggle());
    this._button('−1 frame', () => playback.step(-1), 'One frame back');
    this._button('+1 frame', () => playback.step(1), 'One frame forward');
    this._slider = element(this._bar, 'input', {
      type: 'range', min: 0, max: playback.nFrames - 1, step: 1, value: 0, className: 'position',
    });
    this._slider.setAttribute('aria-label', 'Frame');
    this._slider.addEventListener('input', () => playback.seekFrame(Number(this._slider.value)));
    this._time = element(this._bar, 'span', { className: 'time' });
    this._speed = this._choice('Speed', SPEEDS, (value) => {
      playback.speed = Number(value);
    });
    this._loop = this._box('Repeat', (checked) => {
      playback.loop = checked;
    });
  }

  _makePictures(hasSound) {
    const viewer = this._viewer;
    if (viewer.views.length) {
      const names = Object.keys(VIEWS).filter((name) => name !== 'mouth' || viewer.hasMouth);
      const views = names.map((name) => [name, name]);
      this._view = this._choice('View', views, (name) => viewer.setView(name));
      this._view.value = viewer.page.view;
      this._button('Reset view', () => viewer.setView(this._view.value));
      this._wire = this._box('Wireframe', (checked) => viewer.setWireframe(checked));
    }
    if (!hasSound) return;
    this._sound = this._box('Sound', (checked) => {
      viewer.audio.muted = !checked;
    });
    this._sound.checked = true;
  }

  _makeHelp(root) {
    const details = element(root, 'details', { className: 'keys' });
    element(details, 'summary', {}, 'List of keys');
    const list = element(details, 'dl');
    for (const [key, meaning] of KEYS) {
      element(list, 'dt', {}, key);
      element(list, 'dd', {}, meaning);
    }
  }

  _button(text, onclick, label = '') {
    const button = element(this._bar, 'button', { type: 'button', onclick }, text);
    if (label) button.setAttribute('aria-label', label);
    return button;
  }

  _choice(label, options, onchange) {
    const select = element(this._bar, 'select');
    select.setAttribute('aria-label', label);
    for (const [value, text] of options) element(select, 'option', { value }, text);
    select.addEventListener('change', () => onchange(select.value));
    return select;
  }

  _box(text, onchange) {
    const label = element(this._bar, 'label');
    const box = element(label, 'input', { type: 'checkbox' });
    label.append(text);
    box.addEventListener('change', () => onchange(box.checked));
    return box;
  }

  focus() {
    this._play.focus({ preventScroll: true });
  }

  /** Shows the present time and state. */
  update() {
    const { playing, frame, time, seconds, nFrames } = this._playback;
    const verb = playing ? 'Pause' : 'Play';
    if (this._play.textContent !== verb) this._play.textContent = verb;
    if (this._slider.valueAsNumber !== frame) this._slider.value = frame;
    const text = `${clock(time)} / ${clock(seconds)}, frame ${frame + 1} of ${nFrames}`;
    if (this._time.textContent !== text) this._time.textContent = text;
    // Screen readers may read each change, so there is one a second while playing.
    const second = playing ? Math.floor(time) : null;
    if (second !== null && second === this._describedSecond) return;
    this._describedSecond = second;
    this._slider.setAttribute('aria-valuetext', text);
  }

  _slower() {
    this._speed.selectedIndex = (this._speed.selectedIndex + 1) % SPEEDS.length;
    this._speed.dispatchEvent(new Event('change'));
  }

  _show(number) {
    if (!this._view || number >= this._view.options.length) return;
    this._view.selectedIndex = number;
    this._view.dispatchEvent(new Event('change'));
  }

  _key(event) {
    if (!this._shortcuts.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target.closest?.('input, select, summary, button, a, textarea');
    const playback = this._playback;
    const second = Math.round(playback.fps);
    const actions = {
      w: () => this._wire?.click(), l: () => this._loop.click(),
      m: () => this._sound?.click(), s: () => this._slower(),
      1: () => this._show(0), 2: () => this._show(1), 3: () => this._show(2), 4: () => this._show(3),
    };
    if (!inside) {
      Object.assign(actions, {
        ' ': () => playback.toggle(),
        arrowleft: () => playback.step(event.shiftKey ? -second : -1),
        arrowright: () => playback.step(event.shiftKey ? second : 1),
        home: () => playback.seekFrame(0), end: () => playback.seekFrame(playback.nFrames - 1),
      });
    } else if (inside.matches('select')) return; // its own keys choose an entry
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  dispose() {
    this._keys.removeEventListener('keydown', this._onKey);
    this._playback.removeEventListener('state', this._onState);
  }
}
