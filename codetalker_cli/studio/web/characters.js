// The user's characters, and the one that talks next to the face.

import { ask, query, request, upload } from './api.js';
import { announce, byId, make, sentence, show } from './dom.js';
import { CharacterView } from './character-view.js';

/** The list of characters. The chosen one plays the selected take. */
export class Characters {
  constructor({ takes, player, results }, limits) {
    Object.assign(this, { _takes: takes, _player: player, _results: results, _limits: limits });
    this._list = [];
    this._chosen = null;
    this._view = null;
    this._shown = ''; // the export that the view shows
    this._asked = new Map(); // take and character → export
    byId('character-file').addEventListener('change', (event) => {
      for (const file of event.target.files) this.add(file);
      event.target.value = '';
    });
    player.addEventListener('frame', () => this._view?.set(player.time));
    takes.addEventListener('update', ({ detail }) => this._update(detail));
    takes.addEventListener('select', ({ detail }) => this._update(detail));
    this._read();
  }

  async _read() {
    try {
      this._list = await ask('GET', '/api/characters');
      this._draw();
    } catch (error) {
      this._report(error);
    }
  }

  /** Sends the file of a character, and lets it talk. */
  async add(file) {
    byId('character-error').textContent = '';
    try {
      if (file.size > this._limits.character_mb * 1e6) {
        throw new Error(`${file.name} has more than ${this._limits.character_mb} MB, the limit`);
      }
      const made = await upload(`/api/characters${query({ name: file.name })}`, file, () => {});
      this._list.push(made);
      announce(`${made.name} is ready.`);
      this._choose(made.id);
    } catch (error) {
      this._report(error);
    }
  }

  _report(error) {
    byId('character-error').textContent = sentence(error.message);
  }

  _choose(id) {
    byId('character-error').textContent = '';
    this._chosen = id;
    this._draw();
    this._update(this._takes.selected);
  }

  _draw() {
    const rows = this._list.map(({ id, name, notes, formats }) => make('li', {},
      make('button', {
        type: 'button', className: 'choose', 'aria-pressed': String(id === this._chosen),
        on: { click: () => this._choose(id === this._chosen ? null : id) },
      }, make('span', { className: 'name' }, name)),
      make('details', {}, make('summary', {}, 'What moves'), ...notes.map((note) => make('p', { className: 'help' }, sentence(note)))),
      ...formats.map((format) => make('button', {
        type: 'button', on: { click: () => this._results.make(format, id) },
        'aria-label': `Make a ${format} file of ${name}`,
      }, `Make .${format}`)),
      make('button', {
        type: 'button', 'aria-label': `Remove ${name}`, on: { click: () => this._delete(id) },
      }, 'Remove')));
    byId('characters').replaceChildren(...rows);
  }

  async _delete(id) {
    try {
      await ask('DELETE', `/api/characters/${id}`);
      this._list = this._list.filter((one) => one.id !== id);
      if (this._chosen === id) this._choose(null);
      else this._draw();
    } catch (error) {
      this._report(error);
    }
  }

  /** Shows the chosen character with the selected take as soon as its file is made. */
  async _update(take) {
    const key = `${take?.id} ${this._chosen}`;
    if (!take || !this._chosen || this._shown !== key) this._hide();
    if (!take || !this._chosen || take.state !== 'done' || this._shown === key) return;
    try {
      if (!this._asked.has(key)) {
        this._asked.set(key, null);
        const made = await ask('POST', `/api/takes/${take.id}/exports`, {
          format: 'glb', character: this._chosen, sound: false,
        });
        this._asked.set(key, made.id);
        return;
      }
      const made = take.exports.find((one) => one.id === this._asked.get(key));
      if (made?.state === 'failed') throw new Error(made.error);
      if (made?.state !== 'done') return;
      this._shown = key;
      const { url } = await ask('POST', `/api/takes/${take.id}/exports/${made.id}/file`);
      const content = await (await request('GET', url)).arrayBuffer();
      if (this._shown === key) await this._show(content);
    } catch (error) {
      this._shown = key;
      this._asked.delete(key); // choosing the character again tries it again
      this._report(error);
    }
  }

  async _show(content) {
    show(byId('character'), true);
    const name = this._list.find((one) => one.id === this._chosen)?.name ?? 'Character';
    this._view = await CharacterView.of(byId('character'), content, name);
    this._view.set(this._player.time);
  }

  _hide() {
    this._shown = '';
    this._view?.dispose();
    this._view = null;
    show(byId('character'), false);
  }
}
