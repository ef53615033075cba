// Sealed records, ids and hashes: docs/WIRE.md, "Encoding" and "Records".
import { createHash } from 'node:crypto'
import { peerIdFromString } from '@libp2p/peer-id'
import { decode, encode, Float } from './msgpack.mjs'

const MAX_RECORD = 49152
const SIGNED = Buffer.from('meshinfer record 1\0')

export function hash (digits, ...parts) {
  const sum = createHash('sha256')
  for (const part of parts.map(part => Buffer.from(part))) {
    const size = Buffer.alloc(8)
    size.writeBigUInt64BE(BigInt(part.length))
    sum.update(size).update(part)
  }
  return sum.digest('hex').slice(0, digits)
}

export const jobId = ({ spec, model, nonce }) => hash(16, 'job', spec, model, nonce)

export function workOf ({ id, spec, model }) {
  const { sample = {}, detect = {}, limits = {}, fresh = false, canary = null, then = null } = decode(spec)
  const rules = [
    sample.every ?? 'frame', sample.fps == null ? null : new Float(sample.fps), detect.classes ?? [],
    new Float(detect.min_score ?? 0.25), new Float(detect.iou ?? 0.6), limits.frames ?? null, limits.detections ?? 300,
    ...(canary === null ? [] : [canary.model, canary.peers]),
    ...(then === null ? [] : [[
      then.digest, then.of ?? [], then.classes ?? [], new Float(then.min_score ?? 0.25), new Float(then.iou ?? 0.6),
      new Float(then.margin ?? 0.1), then.keep ?? 'both'
    ]])
  ]
  return hash(32, fresh ? id : '', model, encode(rules))
}

export const taskId = (order, content, { cut = '1x0', span = 0, owner = '' } = {}) =>
  hash(24, 'unit', workOf(order), content, cut, owner) + span.toString(16).padStart(8, '0')

export async function seal (key, { mesh, kind, origin, incarnation, seq, key: slot, body }) {
  const payload = encode([mesh, kind, origin, incarnation, seq, slot, body])
  return encode([1, payload, await key.sign(Buffer.concat([SIGNED, payload]))])
}

// The five steps of a reader. `body` is null where the kind or the body is not understood.
export async function open (schema, mesh, bytes) {
  if (bytes.length > MAX_RECORD) throw new Error('a record that is too large')
  const [version, payload, signature, ...rest] = schema.check('Sealed', decode(bytes))
  if (version !== 1 || rest.length > 0) throw new Error('a record of a newer protocol')
  if (!Buffer.from(encode([version, payload, signature])).equals(bytes)) throw new Error('a record that is not in its shortest form')
  const [where, kind, origin, incarnation, seq, key, body] = schema.check('Payload', decode(payload))
  if (where !== mesh) throw new Error(`a record of the mesh ${where}`)
  const { publicKey } = peerIdFromString(origin)
  if (!await publicKey.verify(Buffer.concat([SIGNED, payload]), signature)) throw new Error(`a record that ${origin} did not sign`)
  const record = { kind, origin, incarnation, seq, key, body: understood(schema, kind, body) }
  if (record.body !== null) {
    if (keyOf(record) !== key) throw new Error(`a ${kind} in the slot ${key}`)
    if (kind === 'job' && jobId(record.body) !== record.body.id) throw new Error('a job whose id is not its hash')
  }
  return record
}

function understood (schema, kind, body) {
  try {
    return schema.kinds.has(kind) ? schema.check(schema.kinds.get(kind), decode(body)) : null
  } catch { return null }
}

function keyOf ({ kind, body }) {
  switch (kind) {
    case 'peer': return ''
    case 'source': case 'channel': return body.name
    case 'job': return body.id
    case 'manifest': return `${body.job}/${body.page}`
    case 'result': return `${body.job}/${Buffer.from(body.outcomes[0][0]).toString('hex')}`
    default: return body.job
  }
}
