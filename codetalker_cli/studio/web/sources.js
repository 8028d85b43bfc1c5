// Where new takes come from: dropped and chosen files, folders, the sample.

import { ask, query, upload } from './api.js';
import { announce, byId, sentence, show } from './dom.js';

const MEDIA = /\.(wav|wave|flac|ogg|oga|opus|mp3|m4a|aac|aif|aiff|au|caf|w64|wma|webm|mp4|m4v|mov|mkv|avi|mts)$/i;
const CHARACTER = /\.(glb|gltf|vrm)$/i;

/**
 * Sends recordings one after the other. Event "take" with the new `take` and whether it `isShown`:
 * of files that are sent together, only the first one is.
 */
export class Sources extends EventTarget {
  constructor(options, limits) {
    super();
    this._options = options;
    this._limits = limits;
    this._waiting = [];
    this._failed = [];
    this._sent = 0;
    for (const id of ['files', 'folder']) {
      byId(id).addEventListener('change', (event) => {
        const files = [...event.target.files];
        this.add(id === 'folder' ? files.filter((file) => MEDIA.test(file.name)) : files, id === 'folder');
        event.target.value = '';
      });
    }
    byId('sample').addEventListener('click', () => this._addSample());
    this._listenForDrops();
  }

  _listenForDrops() {
    const target = byId('drop');
    let depth = 0;
    const mark = (change) => {
      depth = Math.max(0, depth + change);
      target.classList.toggle('over', depth > 0);
    };
    document.addEventListener('dragenter', () => mark(1));
    document.addEventListener('dragleave', () => mark(-1));
    document.addEventListener('dragover', (event) => event.preventDefault());
    document.addEventListener('drop', async (event) => {
      event.preventDefault();
      mark(-depth);
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      // Before the first wait, after which the browser empties the list.
      const plain = [...event.dataTransfer.files];
      const files = entries.length ? (await Promise.all(entries.map(filesOf))).flat() : plain;
      const isFolder = entries.some((entry) => entry.isDirectory);
      const known = (file) => MEDIA.test(file.name) || CHARACTER.test(file.name);
      this.add(isFolder ? files.filter(known) : files, isFolder);
    });
  }

  /** Sends files: recordings become takes, and the others are used as characters. */
  add(given, isFolder = false) {
    this._report('');
    // A .gltf cannot be a character either, and the server has a sentence for it.
    const characters = given.filter((file) => CHARACTER.test(file.name));
    for (const file of characters) this.dispatchEvent(new CustomEvent('character', { detail: file }));
    if (characters.length && characters.length === given.length) return;
    const files = given.filter((file) => !characters.includes(file));
    if (!files.length) {
      if (isFolder) this._report('The folder contains no recordings.');
      return;
    }
    const isIdle = !this._waiting.length;
    if (isIdle) [this._sent, this._failed] = [0, []];
    const options = this._options.value;
    // Words belong to one recording.
    if (files.length > 1) delete options.transcript;
    this._waiting.push(...files.map((file) => ({ file, options })));
    if (isIdle) this._sendAll();
  }

  async _sendAll() {
    while (this._waiting.length) {
      const { file, options } = this._waiting[0];
      try {
        await this._send(file, options);
        this._sent += 1;
      } catch (error) {
        this._failed.push(`${file.name}: ${error.message}`);
        this._report(this._failed.map(sentence).join(' '));
      }
      this._waiting.shift();
    }
    show(byId('meter'), false);
    if (this._sent + this._failed.length > 1) {
      announce(`${this._sent} recordings sent, ${this._failed.length} failed.`);
    }
  }

  async _send(file, options) {
    if (file.size > this._limits.upload_mb * 1e6) {
      throw new Error(`the file has ${Math.ceil(file.size / 1e6)} MB; the limit is ${this._limits.upload_mb} MB`);
    }
    const more = this._waiting.length - 1;
    const text = `Sending ${file.name}${more ? `, ${more} more` : ''}`;
    const path = `/api/takes${query({ name: file.name, options: JSON.stringify(options) })}`;
    const take = await upload(path, file, (share) => meter(text, share));
    this.report(take, this._sent + this._failed.length === 0);
  }

  /** Reports a new take. */
  report(take, isShown = true) {
    this.dispatchEvent(new CustomEvent('take', { detail: { take, isShown } }));
  }

  async _addSample() {
    this._report('');
    try {
      const path = `/api/sample${query({ options: JSON.stringify(this._options.value) })}`;
      this.report(await ask('POST', path));
    } catch (error) {
      this._report(sentence(error.message));
    }
  }

  _report(text) {
    byId('make-error').textContent = text;
  }
}

/** Shows a text and a bar from 0 to 1 in the panel of new takes. */
export function meter(text, share) {
  show(byId('meter'), true);
  byId('meter-text').textContent = text;
  const bar = byId('meter').querySelector('i');
  bar.style.setProperty('--share', Math.max(0, Math.min(1, share)));
}

/** Returns the files of a dropped entry, those of folders too. */
async function filesOf(entry) {
  if (entry.name.startsWith('.')) return [];
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  for (;;) {
    // A reader returns up to 100 entries at a time.
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files;
    for (const one of entries) files.push(...await filesOf(one));
  }
}
