// A peer of a meshinfer mesh in JavaScript, made after docs/WIRE.md: it joins, publishes a job, hears its events and
// fetches the records. `node peer.mjs '{"address": ..., "mesh": ..., "model": ..., "spec": ..., "wire": ..., "golden": ...}'`
// Says what happens as NDJSON, and ends with its input. A line of that is any of {"reachable": true}: say who and
// where it is; {"opaque": N}: state N records of a kind of its own; {"sync": "new"} or "all": fetch others' records, or its own too.
import './polyfill.mjs'
import { createInterface } from 'node:readline'
import { randomBytes } from 'node:crypto'
import { noise } from '@chainsafe/libp2p-noise'
import { gossipsub } from '@chainsafe/libp2p-gossipsub'
import { yamux } from '@chainsafe/libp2p-yamux'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { isFrom, messageId, unpack } from './events.mjs'
import { checkGolden } from './golden.mjs'
import { decode, encode } from './msgpack.mjs'
import { jobId, open, seal, taskId } from './records.mjs'
import { Schema } from './schema.mjs'
import { answer, ask } from './sync.mjs'

const config = JSON.parse(process.argv[2])
const schema = new Schema(config.wire)
const name = (what) => `/meshinfer/${config.mesh}/${what}/1`
const say = (at, facts = {}) => process.stdout.write(JSON.stringify({ at, ...facts }) + '\n')
const about = ({ kind, origin, key, body }) => ({ kind, origin, key, understood: body !== null })

say('golden', await checkGolden(schema, config.golden))

const key = await generateKeyPair('Ed25519')
const node = await createLibp2p({
  privateKey: key,
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub({ globalSignaturePolicy: 'StrictSign', emitSelf: false, msgIdFn: messageId }) }
})
const me = node.peerId.toString()
const incarnation = Date.now()
const own = new Map() // slot -> {seq, sealed}: what a later record of the slot replaced is gone
let seq = 0
const order = { spec: encode(config.spec), model: config.model, nonce: randomBytes(16), published: Date.now() / 1000 }
order.id = jobId(order)

async function state (kind, slot, body) {
  const sealed = await seal(key, { mesh: config.mesh, kind, origin: me, incarnation, seq: ++seq, key: slot, body })
  own.set(`${kind}/${slot}`, { seq, sealed })
  return sealed
}

async function publish (topic, kind, slot, body) {
  const sealed = await state(kind, slot, encode(body))
  if ((await store.hear(sealed)).body === null) throw new Error(`a ${kind} that nobody would understand`)
  await node.services.pubsub.publish(name(topic), encode({ records: [sealed] }))
}

const store = {
  vector: () => [[me, incarnation, seq]],
  lacking: vector => {
    const [,, n = 0, runs = []] = vector.find(([origin, of]) => origin === me && of === incarnation) ?? []
    const seen = seq => seq <= n || runs.some((first, i) => i % 2 === 0 && first <= seq && seq <= runs[i + 1])
    return [...own.values()].filter(mine => !seen(mine.seq)).map(mine => [mine.sealed, 0])
  },
  jobs: () => [[order.id, []]], // it published it, so it takes part in it, and keeps nothing of it
  hear: async sealed => ({ ...await open(schema, config.mesh, sealed), sealed })
}

async function receive (message) {
  if (message.type !== 'signed' || !await isFrom(message)) throw new Error('a message that its origin did not sign')
  const origin = message.from.toString()
  if (message.topic === name('events')) {
    const { pack } = schema.check('EventBatch', decode(message.data))
    for (const event of unpack(origin, pack)) {
      if (event.job === order.id && event.task !== taskId(order, event.content)) throw new Error(`${event.task} is no task of the job`)
      say('event', event)
    }
    return
  }
  for (const sealed of schema.check('Announcement', decode(message.data)).records) {
    say('heard', { topic: message.topic, by: origin, ...about(await open(schema, config.mesh, sealed)) })
  }
}

let leaving = false
const broken = error => leaving || say('broken', { error: String(error?.stack ?? error) })
node.services.pubsub.addEventListener('message', event => { receive(event.detail).catch(broken) })
await node.handle(name('sync'), ({ stream }) => {
  answer(stream, schema, store).then(({ records }) => say('answered', { records: records.map(about) }), broken)
})
for (const topic of ['peers', 'jobs', 'events']) node.services.pubsub.subscribe(name(topic))

node.addEventListener('connection:open', ({ detail }) => say('opened', { by: detail.remotePeer.toString(), inbound: detail.direction === 'inbound' }))
const connection = await node.dial(multiaddr(config.address))
say('connected', { me, peer: connection.remotePeer.toString(), encryption: connection.encryption, muxer: connection.multiplexer })
while (!['peers', 'jobs', 'events'].every(topic => node.services.pubsub.getMeshPeers(name(topic)).length > 0)) {
  await new Promise(resolve => setTimeout(resolve, 20))
}

await publish('jobs', 'job', order.id, { id: order.id, ...order })
say('published', { job: order.id })

// What the other side gave, and how much of what is ours came back byte for byte.
async function sync (store) {
  const { records, vector } = await ask(await node.dialProtocol(connection.remotePeer, name('sync')), schema, store)
  const mine = new Set([...own.values()].map(({ sealed }) => Buffer.from(sealed).toString('hex')))
  const returned = records.filter(({ sealed }) => mine.has(Buffer.from(sealed).toString('hex'))).length
  return { vector, returned, records: records.map(about) }
}

for await (const command of createInterface({ input: process.stdin })) {
  const { reachable, sync: what, opaque = 0 } = JSON.parse(command)
  if (reachable) await publish('peers', 'peer', '', { name: 'javascript', labels: {}, addresses: node.getMultiaddrs().map(String), version: '0', cores: 1, memory_mb: 1 })
  for (let i = 0; i < opaque; i++) await state('x-javascript', `${i}`, randomBytes(40000))
  if (what) say('synced', await sync(what === 'all' ? { ...store, vector: () => [], lacking: () => [] } : store))
}
leaving = true // what hangs up on us now may
await node.stop()
say('stopped')
