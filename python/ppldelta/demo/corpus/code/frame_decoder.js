'use strict';

/**
 * Decoder for a tiny framed protocol, written as a state machine.
 *
 * A frame on the wire is: 0x7E, type (1 byte), length (2 bytes, big endian),
 * payload, checksum (1 byte, sum of type, length and payload modulo 256).
 * Chunks may arrive cut at any place, so all progress lives in the object.
 */
const { EventEmitter } = require('node:events');

const START = 0x7e;

const State = Object.freeze({
  IDLE: 'idle',
  TYPE: 'type',
  LENGTH_HIGH: 'length-high',
  LENGTH_LOW: 'length-low',
  PAYLOAD: 'payload',
  CHECKSUM: 'checksum',
});

class FrameDecoder extends EventEmitter {
  constructor({ maxPayload = 4096 } = {}) {
    super();
    this.maxPayload = maxPayload;
    this.skipped = 0;
    this.reset();
  }

  reset() {
    this.state = State.IDLE;
    this.type = 0;
    this.length = 0;
    this.sum = 0;
    this.payload = null;
    this.filled = 0;
  }

  /** Feed a Buffer or Uint8Array; emits 'frame' and 'bad-frame'. */
  push(chunk) {
    for (const byte of chunk) this.step(byte);
  }

  step(byte) {
    switch (this.state) {
      case State.IDLE:
        if (byte === START) this.state = State.TYPE;
        else this.skipped += 1;
        return;

      case State.TYPE:
        this.type = byte;
        this.sum = byte;
        this.state = State.LENGTH_HIGH;
        return;

      case State.LENGTH_HIGH:
        this.length = byte << 8;
        this.sum += byte;
        this.state = State.LENGTH_LOW;
        return;

      case State.LENGTH_LOW:
        this.length |= byte;
        this.sum += byte;
        if (this.length > this.maxPayload) {
          this.fail(`payload of ${this.length} bytes is too long`);
          return;
        }
        this.payload = Buffer.alloc(this.length);
        this.state = this.length > 0 ? State.PAYLOAD : State.CHECKSUM;
        return;

      case State.PAYLOAD:
        this.payload[this.filled] = byte;
        this.filled += 1;
        this.sum += byte;
        if (this.filled === this.length) this.state = State.CHECKSUM;
        return;

      case State.CHECKSUM: {
        const expected = this.sum & 0xff;
        if (byte !== expected) {
          this.fail(`checksum is ${byte}, expected ${expected}`);
          return;
        }
        const frame = { type: this.type, payload: this.payload };
        this.reset();
        this.emit('frame', frame);
        return;
      }

      default:
        throw new Error(`unreachable state: ${this.state}`);
    }
  }

  fail(reason) {
    this.reset();
    this.emit('bad-frame', reason);
  }
}

/** Build the bytes of one frame. */
function encodeFrame(type, payload = Buffer.alloc(0)) {
  if (payload.length > 0xffff) throw new RangeError('payload too long');
  const frame = Buffer.alloc(payload.length + 5);
  frame[0] = START;
  frame[1] = type;
  frame.writeUInt16BE(payload.length, 2);
  frame.set(payload, 4);
  let sum = 0;
  for (let i = 1; i < frame.length - 1; i += 1) sum += frame[i];
  frame[frame.length - 1] = sum & 0xff;
  return frame;
}

module.exports = { FrameDecoder, State, encodeFrame };
