// msgpack as docs/WIRE.md uses it: nil, bool, int, float 64, text, bytes, array, map with text keys.
// A float stays one (`Float`), so that what was read is written again as it was.

export class Float extends Number {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const text = new TextEncoder()

export function encode (value) {
  const out = []
  write(value, out)
  return Uint8Array.from(out)
}

function write (value, out) {
  if (value === null) out.push(0xc0)
  else if (typeof value === 'boolean') out.push(value ? 0xc3 : 0xc2)
  else if (value instanceof Float || (typeof value === 'number' && !Number.isInteger(value))) out.push(0xcb, ...float(Number(value)))
  else if (typeof value === 'number' || typeof value === 'bigint') integer(BigInt(value), out)
  else if (typeof value === 'string') {
    const bytes = text.encode(value)
    head(bytes.length, out, [0xa0, 31], [0xd9, 0xda, 0xdb])
    for (const byte of bytes) out.push(byte)
  } else if (value instanceof Uint8Array) {
    head(value.length, out, null, [0xc4, 0xc5, 0xc6])
    for (const byte of value) out.push(byte)
  } else if (Array.isArray(value)) {
    head(value.length, out, [0x90, 15], [null, 0xdc, 0xdd])
    for (const item of value) write(item, out)
  } else {
    const items = Object.entries(value)
    head(items.length, out, [0x80, 15], [null, 0xde, 0xdf])
    for (const [key, item] of items) { write(key, out); write(item, out) }
  }
}

function head (length, out, fix, [one, two, four]) {
  if (fix !== null && length <= fix[1]) out.push(fix[0] | length)
  else if (one !== null && length < 2 ** 8) out.push(one, length)
  else if (length < 2 ** 16) out.push(two, ...bigEndian(BigInt(length), 2))
  else out.push(four, ...bigEndian(BigInt(length), 4))
}

function integer (n, out) {
  if (n >= 0n ? n < 128n : n >= -32n) out.push(Number(n & 0xffn))
  else {
    const [first, fits] = n >= 0n ? [0xcc, bits => n < 1n << BigInt(bits)] : [0xd0, bits => n >= -(1n << BigInt(bits - 1))]
    const power = [0, 1, 2, 3].find(p => fits(8 << p))
    if (power === undefined) throw new RangeError(`${n} does not fit into 64 bits`)
    out.push(first + power, ...bigEndian(n, 1 << power))
  }
}

function bigEndian (n, size) {
  return Array.from({ length: size }, (_, i) => Number((n >> BigInt(8 * (size - 1 - i))) & 0xffn))
}

function float (x) {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setFloat64(0, x)
  return bytes
}

export function decode (bytes) {
  const reader = new Reader(bytes)
  const value = reader.value(0)
  if (reader.at !== bytes.length) throw new Error('bytes after the value')
  return value
}

class Reader {
  constructor (bytes) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = 0
  }

  take (size) {
    if (this.at + size > this.bytes.length) throw new Error('the value is cut off')
    this.at += size
    return this.bytes.slice(this.at - size, this.at)
  }

  unsigned (size) {
    return this.take(size).reduce((n, byte) => (n << 8n) | BigInt(byte), 0n)
  }

  value (depth) {
    if (depth > 32) throw new Error('nested too deeply')
    const tag = this.take(1)[0]
    if (tag < 0x80) return tag
    if (tag >= 0xe0) return tag - 256
    if (tag < 0x90) return this.map(tag & 15, depth)
    if (tag < 0xa0) return this.array(tag & 15, depth)
    if (tag < 0xc0) return utf8.decode(this.take(tag & 31))
    switch (tag) {
      case 0xc0: return null
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: case 0xc5: case 0xc6: return this.take(Number(this.unsigned(1 << (tag - 0xc4))))
      case 0xca: return this.take(4) && new Float(this.view.getFloat32(this.at - 4))
      case 0xcb: return this.take(8) && new Float(this.view.getFloat64(this.at - 8))
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return plain(this.unsigned(1 << (tag - 0xcc)))
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: {
        const size = 1 << (tag - 0xd0)
        return plain(BigInt.asIntN(8 * size, this.unsigned(size)))
      }
      case 0xd9: case 0xda: case 0xdb: return utf8.decode(this.take(Number(this.unsigned(1 << (tag - 0xd9)))))
      case 0xdc: case 0xdd: return this.array(Number(this.unsigned(2 << (tag - 0xdc))), depth)
      case 0xde: case 0xdf: return this.map(Number(this.unsigned(2 << (tag - 0xde))), depth)
    }
    throw new Error(`0x${tag.toString(16)} is not used here`)
  }

  array (length, depth) {
    const items = []
    for (let i = 0; i < length; i++) items.push(this.value(depth + 1))
    return items
  }

  map (length, depth) {
    const items = Object.create(null)
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1)
      if (typeof key !== 'string') throw new Error('a key that is no text')
      items[key] = this.value(depth + 1)
    }
    return items
  }
}

function plain (n) {
  return BigInt(Number(n)) === n && Number.isSafeInteger(Number(n)) ? Number(n) : n
}
