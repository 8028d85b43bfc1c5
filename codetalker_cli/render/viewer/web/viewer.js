// The viewer: columns with faces, heat maps and films, the controls, the curves, and one clock.

import { Controls } from './controls.js';
import { Curves } from './curves.js';
import { FaceView, canDraw, linkCameras } from './face.js';
import { Film, release } from './film.js';
import { Motion } from './motion.js';
import { unpackAll } from './packets.js';
import { Playback } from './playback.js';
import { HEAT_COLORS } from './skin.js';

export { canDraw };

/** The part of the inaudible start of a sound above which a longer sound is taken to include it. */
const INCLUDED = 0.75;

/** Browsers keep 16 drawings (content.py: MAX_FACES); more viewers of a page close the oldest. */
const MAX_VIEWS = 15;
const opened = [];

/** Fills an element; `packets` are bytes, `sound` and `films` are blobs. */
export async function mount(root, { packets, sound, films }) {
  const viewer = new Viewer(root, unpackAll(packets), films);
  if (root.dataset.embedded === undefined) document.title = viewer.page.title;
  opened.push(viewer); // before it has started, so that viewers opened at once count each other
  const count = () => opened.reduce((sum, { nViews }) => sum + nViews, 0);
  while (opened.length > 1 && count() > MAX_VIEWS) opened.shift().close();
  try {
    await viewer.start(sound);
  } catch (error) {
    viewer.dispose();
    throw error;
  }
  if (viewer.closed) return;
  if (document.activeElement === root) viewer.controls.focus();
  root.viewer = viewer; // for tests and the curious
  root.dataset.ready = '';
}

/** Creates an element with a class and a text; the text never becomes HTML. */
function make(parent, tag, name = '', text = '') {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

class Viewer {
  constructor(root, packets, films) {
    this.root = root;
    this.page = packets.find((packet) => packet.kind === 'page').header;
    this.motions = [];
    this._faces = [];
    for (const packet of packets) {
      if (packet.kind === 'face') {
        this._faces.push(packet);
        this.motions.push(new Motion(packet));
      } else this.motions.at(-1)?.add(packet);
    }
    this._packets = packets.filter(({ kind }) => kind === 'curve' || kind === 'wave');
    this._films = films;
    this.nViews = this.page.columns.filter(({ kind }) => kind !== 'film').length;
    this.closed = false;
    this._buffers = this.motions.map((motion) => new Float32Array(motion.template.length));
    this.views = [];
    this.films = [];
    this.scriptTimes = []; // milliseconds of the last pictures
  }

  async start(sound) {
    this.soundBlob = sound;
    const audio = sound ? await this._loadSound(sound) : null;
    if (this.closed) return;
    const { fps, n_frames: nFrames } = this.page;
    const delay = audio ? this._delayOf(audio) : 0;
    this.playback = new Playback({ fps, nFrames, sound: audio, delay });
    this.audio = audio;
    this._makeColumns();
    this._makeCurves();
    this.controls = new Controls(this.root, this, { hasSound: Boolean(audio) });
    this.playback.addEventListener('frame', () => this._show());
    this.playback.addEventListener('state', () => this._onState());
    this.setView(this.page.view);
    this._show(true);
  }

  /** Loads the sound completely, so that seeking is immediate. */
  async _loadSound(blob) {
    const audio = new Audio(URL.createObjectURL(blob));
    this._element = audio;
    audio.preload = 'auto';
    audio.preservesPitch = true;
    return new Promise((resolve) => {
      audio.addEventListener('loadedmetadata', () => resolve(audio), { once: true });
      audio.addEventListener('error', () => {
        make(this.root, 'p', 'notice', 'This browser cannot play the sound of this page.');
        resolve(null);
      }, { once: true });
      audio.addEventListener('emptied', () => resolve(null), { once: true }); // closed meanwhile
    });
  }

  /**
   * Encoders put some silence before the sound. Browsers skip it, as the file asks them to; one that
   * does not reports a longer sound, and then the silence is skipped here.
   */
  _delayOf(audio) {
    const { seconds, priming } = this.page.sound;
    return audio.duration > seconds + INCLUDED * priming ? priming : 0;
  }

  _makeColumns() {
    const columns = make(this.root, 'div', 'columns');
    for (const column of this.page.columns) {
      const figure = make(columns, 'figure');
      const stage = make(figure, 'div', 'stage');
      if (column.label) make(figure, 'figcaption', '', column.label);
      if (column.kind === 'film') this._makeFilm(stage, column);
      else this._makeView(stage, figure, column);
    }
    linkCameras(this.views.map(({ view }) => view));
  }

  _makeFilm(stage, { film, label }) {
    this.films.push(new Film(stage, this._films[film], this.page.fps, label));
  }

  _makeView(stage, figure, column) {
    const heated = column.kind === 'heat';
    const named = column.label ? `: ${column.label}` : '';
    const label = `${heated ? 'Heat map of the distance' : 'Talking face'}${named}`;
    const view = new FaceView(stage, this._faces[column.face], { heated, label });
    this.views.push({ view, ...column });
    if (!heated) return;
    const scale = make(figure, 'div', 'scale');
    make(scale, 'span', '', '0');
    make(scale, 'i').style.background = `linear-gradient(to right, ${HEAT_COLORS.join(', ')})`;
    make(scale, 'span', '', column.maximum_label);
  }

  _makeCurves() {
    const { fps, n_frames: nFrames } = this.page;
    const lines = this.page.columns.filter(({ kind }) => kind !== 'heat').map((column) => {
      if (column.kind === 'face') {
        const motion = this.motions[column.face];
        return motion.hasLips && {
          label: column.label, values: motion.lipGaps(), unit: motion.unit,
        };
      }
      const packet = this._packets.find(({ kind, header }) =>
        kind === 'curve' && header.film === column.film);
      return packet && { label: column.label, ...packet.arrays, unit: 'mm' };
    }).filter(Boolean);
    const wave = this._packets.find(({ kind }) => kind === 'wave');
    if (!lines.length && !wave) return;
    const area = make(this.root, 'div', 'curves');
    this.curves = new Curves(area, {
      seconds: nFrames / fps,
      fps,
      lines,
      peaks: wave ? Float32Array.from(wave.arrays.peaks, (peak) => peak / 255) : null,
      peaksPerSecond: wave?.header.per_second,
      label: 'Position in the recording',
    });
    this.curves.addEventListener('seek', ({ detail }) => this.playback.seek(detail));
    if (lines.length > 1) this._makeLegend(lines);
  }

  _makeLegend(lines) {
    const legend = make(this.root, 'p', 'legend');
    const mixed = new Set(lines.map(({ unit }) => unit)).size > 1;
    lines.forEach(({ label, unit }, number) => {
      const entry = make(legend, 'span');
      make(entry, 'i').style.background = `var(--curve-${number % 6})`;
      entry.append(mixed ? `${label} (${unit})` : label);
    });
  }

  setView(name) {
    for (const { view } of this.views) view.setView(name);
  }

  setWireframe(visible) {
    for (const { view } of this.views) view.setWireframe(visible);
  }

  get hasMouth() {
    return this.views.some(({ view }) => view.hasMouth);
  }

  /** Draws the frame at the present time, if it is not drawn yet. */
  _show(always = false) {
    const start = performance.now();
    const { frame } = this.playback;
    if (always || frame !== this.frame) this._draw(frame);
    for (const film of this.films) film.follow(this.playback);
    this.curves?.set(this.playback.time, this.playback.playing);
    this.controls.update();
    this.scriptTimes.push(performance.now() - start);
    if (this.scriptTimes.length > 1000) this.scriptTimes.shift();
  }

  _draw(frame) {
    this.frame = frame;
    this.motions.forEach((motion, i) => motion.write(frame, this._buffers[i]));
    for (const { view, kind, face, against, maximum } of this.views) {
      view.setVertices(this._buffers[face]);
      // Heads stay still in heat maps, which show the distances of faces.
      if (kind === 'heat') view.setHeat(this._buffers[against], maximum);
      else view.setHead(this.motions[face].head(frame));
      view.draw();
    }
  }

  /** Stops the films at the frame that is shown, or pauses the other viewers of the page. */
  _onState() {
    if (!this.playback.playing) {
      for (const film of this.films) film.follow(this.playback);
      this.curves?.set(this.playback.time);
      return;
    }
    for (const other of opened) if (other !== this && other.playback?.playing) other.playback.pause();
  }

  /** Replaces the viewer by a sentence. */
  close() {
    this.dispose();
    delete this.root.viewer;
    delete this.root.dataset.ready;
    this.root.replaceChildren();
    make(this.root, 'p', 'notice', 'This viewer was closed, because a browser can show only a few at '
      + 'a time. Reload the page to open it again.');
  }

  /** Stops everything, and frees the memory of the graphics card, the sound and the films. */
  dispose() {
    this.closed = true;
    if (opened.includes(this)) opened.splice(opened.indexOf(this), 1);
    this.controls?.dispose(); // before the end of playing, which it would show
    this.playback?.pause();
    for (const { view } of this.views) view.dispose();
    for (const film of this.films) film.dispose();
    this.curves?.dispose();
    if (this._element) release(this._element);
  }
}
