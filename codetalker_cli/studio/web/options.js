// The options of new takes: face, style, seed, idle motion, words.

import { byId, make } from './dom.js';

const STEP = 5; // percent

/** The form of the options. Event "change" when the user changes one. */
export class Options extends EventTarget {
  constructor({ subjects, styles, has_idle: hasIdle }) {
    super();
    this._sliders = new Map();
    byId('subject').append(...subjects.map((name) => make('option', { value: name }, name)));
    for (const name of styles) byId('sliders').append(this._slider(name));
    byId('clear-style').addEventListener('click', () => this._setStyle({}));
    byId('options').addEventListener('input', () => this._changed());
    byId('options').addEventListener('submit', (event) => event.preventDefault());
    for (const id of ['idle', 'head']) byId(id).disabled = !hasIdle;
  }

  _slider(name) {
    const value = make('output', { for: `style-${name}` }, '0 %');
    const input = make('input', {
      type: 'range', id: `style-${name}`, min: 0, max: 100, step: STEP, value: 0,
      'aria-valuetext': '0 %',
    });
    this._sliders.set(name, { input, value });
    return make('div', { className: 'slider' }, make('label', { for: input.id }, name), input, value);
  }

  _changed() {
    const parts = [];
    for (const [name, { input, value }] of this._sliders) {
      value.textContent = `${input.value} %`;
      input.setAttribute('aria-valuetext', value.textContent);
      if (Number(input.value)) parts.push(`${name} ${input.value} %`);
    }
    byId('style-summary').textContent = parts.join(', ') || 'that of the face';
    this.dispatchEvent(new Event('change'));
  }

  _setStyle(weights) {
    for (const [name, { input }] of this._sliders) input.value = Math.round(100 * (weights[name] ?? 0));
    this._changed();
  }

  /** The options as the server takes them; defaults are left out. */
  get value() {
    const style = {};
    for (const [name, { input }] of this._sliders) if (Number(input.value)) style[name] = input.value / 100;
    const result = { subject: byId('subject').value, seed: Math.max(0, Math.floor(Number(byId('seed').value) || 0)) };
    if (Object.keys(style).length) result.style = style;
    const [idle, head] = [byId('idle').checked, byId('head').checked];
    if (!idle) result.idle = false;
    if (head !== idle) result.head = head;
    const words = byId('transcript').value.trim();
    if (words) result.transcript = words;
    return result;
  }

  /** Shows the options of a take, so that one of them can be changed. */
  set value({ subject, style = {}, seed = 0, idle = true, head = null }) {
    if (subject) byId('subject').value = subject;
    byId('seed').value = seed;
    byId('idle').checked = idle;
    byId('head').checked = head ?? idle;
    this._setStyle(typeof style === 'string' ? {} : style);
  }
}
