// The button that records a take.

import { announce, byId, show } from './dom.js';
import { Microphone, wavOf } from './microphone.js';
import { meter } from './sources.js';

/** Records takes. `add` gets the file; `limitMinutes` ends a recording. */
export class Recorder {
  constructor(add, limitMinutes) {
    this._add = add;
    this._limit = 60 * limitMinutes;
    this._blocks = null;
    byId('record').addEventListener('click', () => this.toggle());
  }

  get isRecording() {
    return this._blocks !== null;
  }

  /** Starts or stops. */
  async toggle() {
    if (this._busy) return;
    this._busy = true;
    try {
      await (this.isRecording ? this.stop() : this._start());
    } finally {
      this._busy = false;
    }
  }

  async _start() {
    byId('make-error').textContent = '';
    const microphone = new Microphone((samples) => this._take(samples), () => this.stop());
    try {
      await microphone.start();
    } catch (error) {
      byId('make-error').textContent = error.message;
      await microphone.stop();
      return;
    }
    this._microphone = microphone;
    this._blocks = [];
    this._seconds = 0;
    this._show(true);
    announce('Recording.');
  }

  _take(samples) {
    if (!this._blocks) return;
    this._blocks.push(samples);
    this._seconds += samples.length / this._microphone.rate;
    let peak = 0;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    meter(`Recording, ${this._seconds.toFixed(1)} s`, Math.sqrt(peak));
    if (this._seconds >= this._limit) this.stop();
  }

  /** Stops, and adds the recording. */
  async stop() {
    if (!this._blocks) return;
    const [blocks, rate] = [this._blocks, this._microphone.rate];
    this._blocks = null;
    await this._microphone.stop();
    show(byId('meter'), false);
    this._show(false);
    if (!blocks.length) {
      byId('make-error').textContent = 'No sound arrived from the microphone.';
      return;
    }
    announce('Recorded.');
    this._add(wavOf(blocks, rate), 'recording');
  }

  _show(isRecording) {
    const button = byId('record');
    button.textContent = isRecording ? 'Stop recording' : 'Record';
    button.setAttribute('aria-pressed', String(isRecording));
  }
}

/** Returns a file with the present time in its name. */
export function named(blob, word) {
  const now = new Date();
  const two = (number) => String(number).padStart(2, '0');
  const time = `${two(now.getHours())}.${two(now.getMinutes())}.${two(now.getSeconds())}`;
  return new File([blob], `${word} ${time}.wav`, { type: 'audio/wav' });
}
