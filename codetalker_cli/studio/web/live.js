// Live mode: the microphone through the server of live streams, and the face as it moves.

import { token } from './api.js';
import { announce, byId, sentence } from './dom.js';
import { Microphone, wavOf } from './microphone.js';

const SENTENCES = {
  too_many_streams: 'Too many pages are live at the same time. Stop one of them, and try again.',
  shutting_down: 'The server has ended.',
};
const SHOWN_EVERY = 10; // frames between two updates of the delay

/**
 * The button for live mode. `keep` gets a WAV file when the user wants to keep the sound. Event
 * "start" before the face becomes live.
 */
export class Live extends EventTarget {
  constructor(player, options, keep) {
    super();
    Object.assign(this, { _player: player, _options: options, _keep: keep });
    this.isLive = false;
    this.nFrames = 0;
    byId('live').addEventListener('click', () => this.toggle());
  }

  /** Starts or stops. */
  async toggle() {
    if (this._busy) return;
    this._busy = true;
    try {
      await (this.isLive ? this.stop() : this._start());
    } finally {
      this._busy = false;
    }
  }

  async _start() {
    this._say('');
    byId('live-error').textContent = '';
    this._blocks = [];
    this._delays = [];
    this._sent = []; // [seconds of sound, time of sending]
    this._seconds = 0;
    this.nFrames = 0;
    this._microphone = new Microphone((samples) => this._send(samples), () => this._fail('The microphone was removed.'));
    try {
      await this._microphone.start();
      await this._connect();
    } catch (error) {
      await this._fail(error.message);
      return;
    }
    this.isLive = true;
    this._show();
    announce('Live.');
  }

  _connect() {
    const { subject, style, seed, idle, head } = this._options.value;
    this.dispatchEvent(new Event('start'));
    const socket = new WebSocket(`ws://${location.host}/v1/stream`);
    this._socket = socket;
    return new Promise((resolve, reject) => {
      const config = {
        type: 'config', token: token(), sampling_rate: this._microphone.rate, format: 'f32le', subject,
        seed, lookahead_seconds: Number(byId('lookahead').value), frames: ['vertices'], backlog_seconds: 0.5,
      };
      if (style) config.style = style;
      if (idle === false) config.idle = false;
      if (head !== undefined) config.head = head;
      socket.onopen = () => socket.send(JSON.stringify(config));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === 'ready') {
          this._begin(message, subject).then(resolve, reject);
        } else if (message.type === 'error') {
          const text = SENTENCES[message.code] ?? message.message;
          reject(new Error(text));
          if (this.isLive) this._fail(text);
        } else if (message.type === 'frame') this._draw(message);
        else if (message.type === 'ended') socket.close();
      };
      socket.onerror = () => reject(new Error('The server does not answer. Is codetalker studio still running?'));
      socket.onclose = () => {
        reject(new Error('The server has closed the connection.'));
        if (this.isLive) this._fail('The server has closed the connection.');
      };
    });
  }

  async _begin({ neutral }, subject) {
    this._neutral = new Float32Array(bytesOf(neutral).buffer);
    this._vertices = Float32Array.from(this._neutral);
    await this._player.showFace(subject);
    this._socket.send('{"type": "start"}');
    this._isOpen = true;
  }

  _send(samples) {
    if (!this._isOpen || this._socket.readyState !== WebSocket.OPEN) return;
    this._socket.send(samples);
    this._seconds += samples.length / this._microphone.rate;
    this._sent.push([this._seconds, performance.now()]);
    if (byId('keep-live').checked) this._blocks.push(samples);
  }

  _draw({ seconds, vertices, head }) {
    const offsets = halves(bytesOf(vertices));
    for (let k = 0; k < offsets.length; k++) this._vertices[k] = this._neutral[k] + offsets[k];
    this._player.showVertices(this._vertices, head);
    this.nFrames += 1;
    while (this._sent.length > 1 && this._sent[0][0] <= seconds) this._sent.shift();
    if (this._sent.length) this._delays.push(performance.now() - this._sent[0][1]);
    if (this._delays.length > 60) this._delays.shift();
    if (this.nFrames % SHOWN_EVERY === 0) {
      const middle = [...this._delays].sort((a, b) => a - b)[this._delays.length >> 1];
      this._say(`Live. The face follows the sound after ${(middle / 1000).toFixed(2)} s.`);
    }
  }

  /** Stops, and keeps the sound as a take if wanted. */
  async stop() {
    const wasLive = this.isLive;
    this.isLive = false;
    this._isOpen = false;
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send('{"type": "end"}');
    await this._microphone?.stop();
    this._show();
    if (!wasLive) return;
    this._say('Live has ended.');
    if (this._blocks.length) this._keep(wavOf(this._blocks, this._microphone.rate), 'live');
    this._blocks = [];
  }

  async _fail(text) {
    await this.stop();
    this._socket?.close();
    byId('live-error').textContent = sentence(text);
    this._say('');
  }

  _say(text) {
    // The delay changes often; a screen reader hears only the state.
    byId('live-status').setAttribute('aria-live', text.startsWith('Live.') ? 'off' : 'polite');
    byId('live-status').textContent = text;
  }

  _show() {
    byId('live').textContent = this.isLive ? 'Stop live' : 'Start live';
    byId('live').setAttribute('aria-pressed', String(this.isLive));
    byId('lookahead').disabled = this.isLive;
  }
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Returns the float16 numbers in some bytes as float32. */
function halves(bytes) {
  const view = new DataView(bytes.buffer);
  const result = new Float32Array(bytes.length / 2);
  for (let k = 0; k < result.length; k++) {
    const bits = view.getUint16(2 * k, true);
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
    result[k] = bits & 0x8000 ? -size : size;
  }
  return result;
}
