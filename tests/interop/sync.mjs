// Frames over a libp2p stream, and the record sync over frames: docs/WIRE.md, "Transport" and "sync".
import { byteStream } from 'it-byte-stream'
import { decode, encode } from './msgpack.mjs'

const END = 0xffffffff
const MAX_FRAME = 256 * 1024
const PATIENCE = 20000

class Frames {
  constructor (stream) {
    this.stream = stream
    this.bytes = byteStream(stream)
    this.patience = { signal: AbortSignal.timeout(PATIENCE) }
  }

  async send (message) {
    const frame = encode(message)
    const size = Buffer.alloc(4)
    size.writeUInt32BE(frame.length)
    await this.bytes.write(Buffer.concat([size, frame]), this.patience)
  }

  // The next message; null when the other side has finished.
  async receive () {
    const size = Buffer.from((await this.bytes.read({ bytes: 4, ...this.patience })).subarray()).readUInt32BE()
    if (size === END) return null
    if (size > MAX_FRAME) throw new Error(`a frame of ${size} bytes`)
    return decode((await this.bytes.read({ bytes: size, ...this.patience })).subarray())
  }

  // Say that this side is done, and take the other's word for it.
  async finish () {
    await this.bytes.write(Buffer.from('ffffffff', 'hex'), this.patience)
    if (await this.receive() !== null) throw new Error('a message after the last one')
    await this.stream.close(this.patience)
  }
}

// `store`: {vector(): Upto[], jobs(): OfJob[], lacking(Upto[]): Aged[], hear(Uint8Array)}. Each returns what the other side sent.
export async function ask (stream, schema, store) {
  const frames = new Frames(stream)
  await frames.send({ type: 'have', vector: store.vector(), jobs: store.jobs() })
  const theirs = await take(frames, schema, store)
  await give(frames, store, theirs.vector)
  await frames.finish()
  return theirs
}

export async function answer (stream, schema, store) {
  const frames = new Frames(stream)
  const first = await frames.receive()
  if (first?.type === 'page') return await pushed(frames, schema, store, first)
  await give(frames, store, await whole(frames, schema, 'Have', first))
  const theirs = await take(frames, schema, store)
  await frames.finish()
  return theirs
}

// A push: pages until the other side has finished, and no answer.
async function pushed (frames, schema, store, page) {
  const records = []
  for (; page !== null; page = await frames.receive()) {
    for (const [sealed] of schema.check('Page', page).records) records.push(await store.hear(sealed))
  }
  await frames.bytes.write(Buffer.from('ffffffff', 'hex'), frames.patience)
  await frames.stream.close(frames.patience)
  return { records, vector: [] }
}

// A vector, of which a part has come. What the other side has seen of jobs is left out: this peer states nothing in any.
async function whole (frames, schema, kind, part) {
  const { vector, more } = schema.check(kind, part)
  return more ? [...vector, ...await whole(frames, schema, kind, await frames.receive())] : vector
}

async function give (frames, store, vector) {
  const mine = store.vector()
  const records = store.lacking(vector)
  for (const page of pages(records)) await frames.send({ type: 'page', records: page })
  await frames.send({ type: 'complete', vector: mine, jobs: store.jobs() })
}

// As many records as surely fit into a frame.
function * pages (records) {
  let [page, size] = [[], 0]
  for (const aged of records) {
    if (size + aged[0].length > MAX_FRAME / 2) {
      yield page
      ;[page, size] = [[], 0]
    }
    page.push(aged)
    size += aged[0].length + 16
  }
  if (page.length > 0) yield page
}

async function take (frames, schema, store) {
  const records = []
  for (;;) {
    const message = await frames.receive()
    if (message?.type === 'page') {
      for (const [sealed] of schema.check('Page', message).records) records.push(await store.hear(sealed))
    } else return { records, vector: await whole(frames, schema, 'Complete', message) }
  }
}
