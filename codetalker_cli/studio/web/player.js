// Shows the selected take: its face, its sound, its curves, and the controls.

import { ask } from './api.js';
import { byId, sentence } from './dom.js';
import { faceOf, packetsOf } from './stream.js';
import { Curves } from '/viewer/curves.js';
import { FaceView, canDraw } from '/viewer/face.js';
import { Motion } from '/viewer/motion.js';
import { Playback } from '/viewer/playback.js';

const START_SECONDS = 0.5; // of frames that must be there before the take plays by itself
const VIEWS = ['front', 'three-quarter', 'profile', 'mouth'];

/** Plays takes. Event "frame" when a picture is drawn. */
export class Player extends EventTarget {
  constructor() {
    super();
    this.playback = null;
    this._view = null;
    this._loading = null;
    this._subject = null;
    if (!canDraw()) byId('player-error').textContent = 'This browser cannot draw 3D pictures (WebGL 2 is missing or off).';
    this._listen();
  }

  _listen() {
    byId('play').addEventListener('click', () => this.playback?.toggle());
    byId('speed').addEventListener('change', () => this._setUp());
    byId('loop').addEventListener('change', () => this._setUp());
    byId('view').addEventListener('change', (event) => this._view?.setView(event.target.value));
    byId('wireframe').addEventListener('change', () => this._setUp());
  }

  /** Shows a view by its number from 0 to 3. */
  showView(number) {
    byId('view').value = VIEWS[number];
    this._view?.setView(VIEWS[number]);
  }

  /** The time in seconds. */
  get time() {
    return this.playback?.time ?? 0;
  }

  /** Stops, and shows nothing. */
  clear() {
    this._loading?.abort();
    this.playback?.pause();
    this._curves?.dispose();
    byId('curves').replaceChildren();
    [this.playback, this._motion, this._curves, this._audio] = [null, null, null, null];
    byId('play').disabled = true;
    byId('player-error').textContent = '';
    this._showTime();
  }

  /** Shows the face of a subject, which does not move. */
  async showFace(subject) {
    const face = await faceOf(subject);
    if (this._subject === subject || !canDraw()) return face;
    const camera = this._view?.getCamera();
    this._view?.dispose();
    byId('face').replaceChildren();
    this._view = new FaceView(byId('face'), face, { label: `Face ${subject}` });
    if (camera) this._view.setCamera(camera);
    this._subject = subject;
    this._view.setWireframe(byId('wireframe').checked);
    this._view.setVertices(this._view.vertices);
    this._view.draw();
    return face;
  }

  /** Shows vertices and [yaw, pitch, roll] from elsewhere, such as from a live stream. */
  showVertices(vertices, head = [0, 0, 0]) {
    this._view?.setHead(head);
    this._view?.setVertices(vertices);
    this._view?.draw();
  }

  /** Loads a take, and plays it if wanted. */
  async load(take, { isPlayed = false } = {}) {
    this.clear();
    const loading = new AbortController();
    this._loading = loading;
    this._isWanted = isPlayed;
    try {
      const face = await this.showFace(take.subject);
      for await (const packets of packetsOf(take.id, loading.signal)) {
        if (loading.signal.aborted) return;
        for (const packet of packets) {
          if (packet.kind === 'sound') await this._begin(take, face, packet, loading.signal);
          else this._motion?.add(packet);
          if (loading.signal.aborted) return;
        }
        this._extend();
      }
      this._end();
    } catch (error) {
      if (error.name === 'AbortError' || loading.signal.aborted) return;
      byId('player-error').textContent = sentence(error.message);
    }
  }

  async _begin(take, face, { header, arrays }, signal) {
    const { fps, n_frames: nFrames, peaks_per_second: peaksPerSecond } = header;
    this._total = nFrames;
    this._motion = new Motion({ ...face, header: { ...face.header, fps } });
    // Another take may be chosen in the meantime, which ends this one.
    const { url } = await ask('POST', `/api/takes/${take.id}/sound`, undefined, signal);
    this._audio = new Audio(url);
    this._audio.preload = 'auto';
    this.playback = new Playback({ fps, nFrames: 0, sound: this._audio });
    this.playback.open = true;
    const peaks = Float32Array.from(arrays.peaks, (value) => value / 255);
    this._curves = new Curves(byId('curves'), {
      seconds: nFrames / fps, fps, peaks, peaksPerSecond, lines: this._lines(),
      label: 'Position in the take',
    });
    this._curves.addEventListener('seek', ({ detail }) => this.playback?.seek(detail));
    this.playback.addEventListener('frame', () => this._draw());
    this.playback.addEventListener('state', () => this._showState());
    this._setUp();
  }

  _lines() {
    return this._motion.hasLips ? [{ label: 'Lip gap', values: this._motion.lipGaps(), unit: this._motion.unit }] : [];
  }

  _extend() {
    const { playback } = this;
    if (!playback) return;
    const isFirst = !playback.nFrames;
    playback.extend(this._motion.nFrames);
    this._curves.update({ lines: this._lines() });
    if (isFirst) playback.seek(0);
    const needed = Math.min(this._total, START_SECONDS * playback.fps);
    if (this._isWanted && this._motion.nFrames >= needed) {
      this._isWanted = false;
      playback.play();
    }
  }

  _end() {
    if (!this.playback) return;
    this.playback.open = false;
    this.playback.extend(this._motion.nFrames);
    this.dispatchEvent(new Event('whole'));
  }

  _setUp() {
    this._view?.setWireframe(byId('wireframe').checked);
    this._view?.draw();
    if (!this.playback) return;
    this.playback.loop = byId('loop').checked;
    this.playback.speed = Number(byId('speed').value);
  }

  _draw() {
    const { playback, _view: view, _motion: motion } = this;
    if (!playback || !motion.nFrames) return;
    if (view) {
      motion.write(playback.position, view.vertices);
      view.setVertices(view.vertices);
      view.setHead(motion.head(playback.position));
      view.draw();
    }
    this._curves.set(playback.time, playback.playing);
    this._showTime();
    this.dispatchEvent(new Event('frame'));
  }

  _showTime() {
    const total = this.playback ? (this._total / this.playback.fps) : 0;
    byId('time').textContent = `${this.time.toFixed(1)} / ${total.toFixed(1)} s`;
  }

  _showState() {
    byId('play').textContent = this.playback?.playing ? 'Pause' : 'Play';
    byId('play').disabled = !this.playback?.nFrames;
    if (this.playback && !this.playback.playing) this._curves?.set(this.playback.time);
    this._showTime();
  }

  /** The number of frames that are known, and that of the whole take. */
  get progress() {
    return { known: this._motion?.nFrames ?? 0, total: this._total ?? 0 };
  }

  /** Copies the vertices at a frame, for tests. */
  verticesAt(frame) {
    return this._motion.write(frame, new Float32Array(this._motion.template.length));
  }
}
