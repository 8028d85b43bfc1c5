// The sound of the microphone, as blocks of samples.

const PROBLEMS = {
  NotAllowedError: 'The browser may not use the microphone. Allow it in the settings of this page, and try again.',
  NotFoundError: 'No microphone was found. Connect one, and try again.',
  NotReadableError: 'The microphone is in use by another program, or the system does not allow it.',
};

/** The microphone. `onSamples` gets Float32Array blocks; `onEnd` is called if the device goes away. */
export class Microphone {
  constructor(onSamples, onEnd = () => {}) {
    Object.assign(this, { onSamples, onEnd });
  }

  /** Starts; throws an `Error` with a sentence if there is no microphone or no permission. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error('This browser cannot record sound.');
    try {
      this._stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
    } catch (error) {
      throw new Error(PROBLEMS[error.name] ?? `The microphone cannot be used (${error.name}).`);
    }
    this._context = new AudioContext();
    await this._context.audioWorklet.addModule('/web/capture-worklet.js');
    const source = this._context.createMediaStreamSource(this._stream);
    this._node = new AudioWorkletNode(this._context, 'capture', { numberOfOutputs: 0 });
    this._node.port.onmessage = ({ data }) => this.onSamples(data);
    source.connect(this._node);
    await this._context.resume();
    for (const track of this._stream.getTracks()) track.addEventListener('ended', () => this.onEnd());
  }

  /** The samples per second. */
  get rate() {
    return this._context.sampleRate;
  }

  /** Stops, and frees the microphone. */
  async stop() {
    for (const track of this._stream?.getTracks() ?? []) track.stop();
    if (this._node) this._node.port.onmessage = null;
    if (this._context && this._context.state !== 'closed') await this._context.close();
  }
}

/** Returns a 16-bit mono WAV file of blocks of samples. */
export function wavOf(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((letter, k) => view.setUint8(at + k, letter.charCodeAt(0)));
  text(0, 'RIFF');
  view.setUint32(4, 36 + 2 * count, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, 'data');
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) {
    for (const sample of block) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
      at += 2;
    }
  }
  return new Blob([view], { type: 'audio/wav' });
}
