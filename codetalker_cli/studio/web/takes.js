// The list of takes: follows the server, and lets the user choose, rename and delete.

import { ask } from './api.js';
import { alertUser, announce, byId, make, sentence, setText } from './dom.js';

const RETRY_MS = 2000;
const PAUSE_MS = 100; // between two questions, because a take that is computed changes often

/**
 * The takes of the server. Events: "select" with the take as `detail` (or null), "update" with the
 * selected take when the server has changed it.
 */
export class Takes extends EventTarget {
  constructor() {
    super();
    this._takes = new Map();
    this._rows = new Map();
    this._batch = new Set(); // what this page has added since it last had nothing to wait for
    this._question = 0; // the number of the last question to the server
    this._added = new Map(); // take of this page → the last question before it
    this.selected = null;
    this._follow();
  }

  /** Adds a take of this page before the server reports it, and selects it if nothing is shown. */
  add(take) {
    this._batch.add(take.id);
    this._added.set(take.id, this._question);
    this._takes.set(take.id, take);
    this._draw();
  }

  /** Selects a take by its id. */
  select(id) {
    if (id === this.selected?.id) return;
    this.selected = this._takes.get(id) ?? null;
    this._draw();
    this.dispatchEvent(new CustomEvent('select', { detail: this.selected }));
  }

  /** Selects the next (1) or the previous (−1) take. */
  step(by) {
    const ids = [...this._takes.keys()].reverse();
    if (!ids.length) return;
    const at = ids.indexOf(this.selected?.id);
    this.select(ids[Math.max(0, Math.min(ids.length - 1, at < 0 ? 0 : at + by))]);
  }

  async _follow() {
    let number = -1;
    let isGone = false;
    for (;;) {
      try {
        this._question += 1;
        const answer = await ask('GET', `/api/takes?after=${number}`);
        if (isGone) announce('The server answers again.');
        isGone = false;
        number = answer.number;
        this._take(answer.takes);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      } catch (error) {
        if (!isGone) alertUser(sentence(error.message));
        if (error.code === 'unauthorized') return;
        isGone = true;
        number = -1;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  _take(takes) {
    for (const take of takes) this._report(this._takes.get(take.id), take);
    const known = new Map(takes.map((take) => [take.id, take]));
    for (const [id, question] of this._added) {
      // The server may have answered before it had the take.
      const take = this._takes.get(id);
      if (question < this._question || !take) this._added.delete(id);
      else if (!known.has(id)) known.set(id, take);
    }
    this._takes = known;
    this._draw();
    const selected = this.selected && this._takes.get(this.selected.id);
    if (this.selected && !selected) this.select(null);
    else if (selected) {
      this.selected = selected;
      this.dispatchEvent(new CustomEvent('update', { detail: selected }));
    }
  }

  _report(former, take) {
    if (!former || former.state === take.state) return;
    if (take.state === 'done') announce(`${take.name} is done.`);
    if (take.state === 'failed') announce(`${take.name} failed: ${take.error}`);
  }

  _draw() {
    const list = byId('takes');
    for (const [id, row] of this._rows) {
      if (!this._takes.has(id)) {
        row.item.remove();
        this._rows.delete(id);
      }
    }
    for (const take of this._takes.values()) {
      if (!this._rows.has(take.id)) {
        const row = this._makeRow(take);
        this._rows.set(take.id, row);
        list.prepend(row.item);
      }
      this._fill(this._rows.get(take.id), take);
    }
    byId('no-takes').hidden = this._takes.size > 0;
    this._drawBatch();
  }

  _makeRow({ id }) {
    const name = make('span', { className: 'name' });
    const state = make('span', { className: 'state' });
    const bar = make('i', { className: 'bar' });
    const choose = make('button', {
      type: 'button', className: 'choose', on: { click: () => this.select(id) },
    }, name, state, bar);
    const error = make('p', { className: 'error' });
    const rename = make('button', { type: 'button', on: { click: () => this._rename(id) } }, 'Rename');
    const remove = make('button', { type: 'button', on: { click: () => this._delete(id) } }, 'Delete');
    const actions = make('div', { className: 'row actions' }, rename, remove);
    const item = make('li', {}, choose, error, actions);
    return { item, choose, name, state, bar, error, rename, remove };
  }

  _fill(row, take) {
    setText(row.name, take.name);
    setText(row.state, stateOf(take));
    row.bar.style.setProperty('--share', take.state === 'computing' ? take.progress : 0);
    setText(row.error, take.error ? sentence(take.error) : '');
    row.rename.setAttribute('aria-label', `Rename ${take.name}`);
    row.remove.setAttribute('aria-label', `Delete ${take.name}`);
    row.choose.setAttribute('aria-current', String(take.id === this.selected?.id));
    row.item.dataset.state = take.state;
  }

  _drawBatch() {
    const batch = [...this._batch].map((id) => this._takes.get(id)).filter(Boolean);
    const count = (state) => batch.filter((take) => take.state === state).length;
    const [done, failed] = [count('done'), count('failed')];
    let text = '';
    if (batch.length > 1) {
      text = `${done} of ${batch.length} done`;
      if (failed) text += `, ${failed} failed`;
    }
    setText(byId('batch'), text);
  }

  /** Begins a new count of the recordings that are sent together. */
  beginBatch() {
    const isBusy = [...this._batch].some((id) => ['waiting', 'computing'].includes(this._takes.get(id)?.state));
    if (!isBusy) this._batch.clear();
  }

  async _rename(id) {
    const row = this._rows.get(id);
    const input = make('input', {
      className: 'rename', value: row.name.textContent, maxLength: 200, 'aria-label': 'New name',
    });
    let isOpen = true;
    const end = async (isKept) => {
      if (!isOpen) return;
      isOpen = false; // removing the field takes its focus, which would end it again
      const name = input.value.trim();
      input.replaceWith(row.choose);
      row.choose.focus();
      if (isKept && name) await this._try(() => ask('PATCH', `/api/takes/${id}`, { name }));
    };
    input.addEventListener('keydown', (event) => {
      event.stopPropagation();
      if (event.key === 'Enter') end(true);
      if (event.key === 'Escape') end(false);
    });
    input.addEventListener('blur', () => end(true));
    row.choose.replaceWith(input);
    input.focus();
    input.select();
  }

  async _delete(id) {
    const take = this._takes.get(id);
    if (!confirm(`Delete ${take.name}?`)) return;
    await this._try(() => ask('DELETE', `/api/takes/${id}`));
  }

  async _try(call) {
    try {
      await call();
    } catch (error) {
      alertUser(sentence(error.message));
    }
  }
}

/** Returns the state of a take in words. */
function stateOf(take) {
  const style = take.options.style;
  const words = typeof style === 'object' ? Object.keys(style).join(' + ') : style;
  const who = words ? `${take.subject}, style ${words}` : take.subject;
  if (take.state === 'waiting') return `${who} · waiting`;
  if (take.state === 'computing') return `${who} · ${Math.round(100 * take.progress)} %`;
  if (take.state === 'failed') return `${who} · failed`;
  return `${who} · ${(take.n_frames / take.fps).toFixed(1)} s`;
}
