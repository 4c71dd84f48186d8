// The standard normal numbers that torch draws from a seed on a CPU, so that "seed 7" is the same
// code here as in `ganpress edit`; noise maps are of a seed of their own. Mersenne twister
// (Matsumoto and Nishimura 1998) and Box-Muller, as torch.randn has them for float32.

const N = 624;
const M = 397;

export class TorchGenerator {
  constructor(seed) {
    this.state = new Uint32Array(N);
    this.next = N;
    this.kept = null; // the second number of the last pair
    this.state[0] = seed >>> 0;
    for (let k = 1; k < N; k++) {
      const last = this.state[k - 1] ^ (this.state[k - 1] >>> 30);
      this.state[k] = Math.imul(1812433253, last) + k;
    }
  }

  // 32 random bits.
  bits() {
    if (this.next === N) this.#twist();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #twist() {
    const { state } = this;
    for (let k = 0; k < N; k++) {
      const y = (state[k] & 0x80000000) | (state[(k + 1) % N] & 0x7fffffff);
      state[k] = state[(k + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  // `count` numbers, as torch.randn(count): from 16 on it makes them in blocks of 16.
  normal(count) {
    const data = new Float32Array(count);
    if (count < 16) return data.map(() => this.#one());
    for (let k = 0; k < count; k++) data[k] = this.#uniform();
    for (let k = 0; k + 15 < count; k += 16) boxMuller(data.subarray(k, k + 16));
    if (count % 16) {
      const rest = data.subarray(count - 16);
      for (let k = 0; k < 16; k++) rest[k] = this.#uniform();
      boxMuller(rest);
    }
    return data;
  }

  #uniform() {
    return (this.bits() & 0xffffff) / 2 ** 24;
  }

  #uniform53() {
    const high = this.bits() & 0x1fffff; // the upper half comes first; 21 of its bits count
    return (high * 2 ** 32 + this.bits()) / 2 ** 53;
  }

  #one() {
    if (this.kept !== null) {
      const kept = this.kept;
      this.kept = null;
      return kept;
    }
    const turn = 2 * Math.PI * this.#uniform53();
    const radius = Math.sqrt(-2 * Math.log1p(-this.#uniform53()));
    this.kept = radius * Math.sin(turn);
    return radius * Math.cos(turn);
  }
}

function boxMuller(block) {
  for (let k = 0; k < 8; k++) {
    const radius = Math.sqrt(-2 * Math.log(1 - block[k]));
    const turn = 2 * Math.PI * block[k + 8];
    block[k] = radius * Math.cos(turn);
    block[k + 8] = radius * Math.sin(turn);
  }
}
