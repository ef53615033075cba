// Events as they come in packs, written out: docs/WIRE.md, "Topics".

// Throws for an index that points past its list: then nothing of the pack counts.
export function unpack (origin, [incarnation, labels, works, rows]) {
  const at = (list, i) => list[i] ?? (() => { throw new Error(`an index that points past its list: ${i} of ${list.length}`) })()
  return rows.map(([n, work, frame, t, seen]) => {
    const [job, task, source, entry, content, width, height, captured = null] = at(works, work)
    const detections = seen.map(([label, score, ...box]) => ({ label: at(labels, label), score: score / 10000, box: box.map(x => x / 100) }))
    const cursor = `${origin}/${incarnation}/${n}`
    const wall = captured === null ? null : Number(captured) + Number(t)
    return { peer: origin, cursor, job, task, source, entry, content, frame, t: Number(t), wall, width, height, detections }
  })
}

const field = (number, bytes) => [Buffer.from([number << 3 | 2]), varint(bytes.length), bytes]

function varint (n) {
  const out = []
  for (; n > 127; n >>= 7) out.push(n & 127 | 128)
  return Buffer.from([...out, n])
}

function seqnoOf (n) {
  const seqno = Buffer.alloc(8)
  seqno.writeBigUInt64BE(n)
  return seqno
}

// Unlike js-libp2p's own, which begins with the public key: a peer whose ids differ asks for everything a second time.
export const messageId = ({ from, sequenceNumber }) => Buffer.concat([from.toMultihash().bytes, seqnoOf(sequenceNumber)])

// The signature of a gossip message, by hand: over "libp2p-pubsub:" and the message's from, data, seqno, topic.
export async function isFrom ({ from, data, sequenceNumber, topic, signature }) {
  const parts = [field(1, from.toMultihash().bytes), field(2, data), field(3, seqnoOf(sequenceNumber)), field(4, Buffer.from(topic))]
  return await from.publicKey.verify(Buffer.concat(['libp2p-pubsub:', ...parts.flat()].map(part => Buffer.from(part))), signature)
}
