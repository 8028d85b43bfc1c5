// Files that are made of the selected take, and the command and the code that do the same.

import { ask } from './api.js';
import { announce, byId, make, sentence, setText } from './dom.js';

/** The downloads of the selected take. */
export class Results {
  constructor(formats) {
    this._take = null;
    this._wanted = new Set();
    byId('format').append(...formats.map(({ name, suffix, content }) => make(
      'option', { value: name }, `${suffix || `${name} (folder)`} – ${content}${suffix === '.json' || suffix === '.glb' ? ` (${name})` : ''}`,
    )));
    byId('export').addEventListener('click', () => this.make(byId('format').value));
    for (const id of ['command', 'python']) {
      byId(`copy-${id}`).addEventListener('click', () => copy(byId(id).textContent));
    }
  }

  /** Shows a take, or nothing. */
  show(take) {
    this._take = take;
    byId('results').hidden = !take;
    if (!take) return;
    byId('export').disabled = take.state !== 'done';
    setText(byId('command'), take.command);
    setText(byId('python'), take.python);
    const drawn = JSON.stringify([take.id, take.exports]);
    if (drawn === this._drawn) return; // new rows would lose the focus
    this._drawn = drawn;
    byId('exports').replaceChildren(...take.exports.map((one) => this._row(one)).reverse());
    for (const one of take.exports) if (one.state === 'done' && this._wanted.delete(one.id)) this.download(one.id);
  }

  /** Makes a file of the shown take, or of a character that says it, and downloads it. */
  async make(format, character = null) {
    if (!this._take) {
      announce('Choose a take first.');
      return;
    }
    try {
      const made = await ask('POST', `/api/takes/${this._take.id}/exports`, { format, character });
      this._wanted.add(made.id);
      announce(`Making the ${made.format} file.`);
    } catch (error) {
      byId('exports').prepend(make('li', { className: 'error' }, sentence(error.message)));
    }
  }

  _row({ id, format, state, progress, error, name, notes }) {
    if (state === 'failed') {
      return make('li', {}, make('span', { className: 'name' }, format), make('p', { className: 'error' }, sentence(error)));
    }
    if (state !== 'done') {
      const share = progress === null ? '' : ` ${Math.round(100 * progress)} %`;
      const word = state === 'waiting' ? 'waiting' : `working${share}`;
      return make('li', {}, make('span', { className: 'name' }, format), make('span', { className: 'state' }, word));
    }
    const again = make('button', {
      type: 'button', on: { click: () => this.download(id) }, 'aria-label': `Download ${name}`,
    }, 'Download');
    return make('li', {}, make('span', { className: 'name' }, name), again,
      ...notes.map((note) => make('p', { className: 'help' }, sentence(note))));
  }

  /** Downloads a file that is ready. */
  async download(id) {
    try {
      const { url, name } = await ask('POST', `/api/takes/${this._take.id}/exports/${id}/file`);
      const link = make('a', { href: url, download: name });
      document.body.append(link);
      link.click();
      link.remove();
      announce(`${name} is ready.`);
    } catch (error) {
      byId('exports').prepend(make('li', { className: 'error' }, sentence(error.message)));
    }
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce('Copied.');
  } catch {
    announce('The browser did not allow copying. Select the text and copy it.');
  }
}
