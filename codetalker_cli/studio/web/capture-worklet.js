// Sends the samples of the microphone to the page, in blocks of about 20 ms.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this._block = new Float32Array(Math.round(sampleRate / 50));
    this._filled = 0;
  }

  process([input]) {
    const channel = input[0];
    for (let k = 0; channel && k < channel.length; k++) {
      this._block[this._filled++] = channel[k];
      if (this._filled === this._block.length) {
        this.port.postMessage(this._block);
        this._block = new Float32Array(this._block.length);
        this._filled = 0;
      }
    }
    return true;
  }
}

registerProcessor('capture', Capture);
