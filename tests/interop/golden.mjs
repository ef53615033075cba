// The golden vectors, read with this decoder and sealed again with this writer; and that what is spoiled is refused.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { unpack } from './events.mjs'
import { decode, encode, Float } from './msgpack.mjs'
import { jobId, open, seal, taskId, workOf } from './records.mjs'

const load = (folder, name) => JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'))
const bytesOf = hex => Uint8Array.from(Buffer.from(hex, 'hex'))

// As the files have it: bytes as hex digits after `hex:`.
function readable (value) {
  if (value instanceof Uint8Array) return `hex:${Buffer.from(value).toString('hex')}`
  if (value instanceof Float) return Number(value)
  if (Array.isArray(value)) return value.map(readable)
  if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, readable(v)]))
  return value
}

export async function checkGolden (schema, folder) {
  const { seed, origin, mesh, records, works: jobs } = load(folder, 'records')
  const messages = load(folder, 'messages')
  const key = await generateKeyPairFromSeed('Ed25519', bytesOf(seed))
  assert.equal(peerIdFromPrivateKey(key).toString(), origin)
  let refused = 0
  for (const [kind, golden] of Object.entries(records)) {
    const sealed = bytesOf(golden.sealed)
    const record = await open(schema, mesh, sealed)
    assert.deepEqual(readable(record), { kind, origin, incarnation: golden.incarnation, seq: golden.seq, key: golden.key, body: golden.body })
    assert.deepEqual(await seal(key, { ...record, mesh, body: encode(record.body) }), sealed, `${kind} sealed again`)
    const cut = sealed.slice(0, -1)
    const forged = sealed.with(-1, sealed.at(-1) ^ 1)
    for (const bad of [cut, forged, Buffer.concat([sealed, sealed])]) {
      await assert.rejects(open(schema, mesh, bad))
      refused++
    }
    await assert.rejects(open(schema, 'elsewhere', sealed))
    await assert.rejects(open(schema, mesh, await seal(key, { ...record, mesh, key: 'x', body: encode(record.body) })))
    refused += 2
  }
  for (const [name, { encoded, decoded }] of Object.entries(messages)) {
    const message = schema.check(schema.named(name), decode(bytesOf(encoded)))
    assert.deepEqual(readable(message), decoded, name)
    assert.deepEqual(encode(message), bytesOf(encoded), `${name} encoded again`)
    assert.throws(() => decode(bytesOf(encoded).slice(0, -1)))
    refused++
  }
  for (const { id, spec, model, nonce, work } of jobs) {
    const order = { id, model, spec: bytesOf(spec.slice(4)), nonce: bytesOf(nonce.slice(4)) }
    assert.equal(jobId(order), id)
    assert.equal(workOf(order), work)
  }
  // What binds them: the event's task is the hash of the job and the content.
  const job = await open(schema, mesh, bytesOf(records.job.sealed))
  schema.check('JobSpec', decode(job.body.spec), true)
  const [, labels, works, rows] = decode(bytesOf(messages.event_batch.encoded)).pack
  const events = unpack(origin, [1, labels, works, rows])
  assert.equal(events[0].task, taskId(job.body, events[0].content, { cut: '3x960', span: 1 }))
  assert.throws(() => unpack(origin, [1, labels, [], rows]), /past its list/)
  return { records: Object.keys(records).length, messages: Object.keys(messages).length, refused }
}
