// The tables of docs/WIRE.md, as checks: what they do not say, this peer does not know.
import { readFileSync } from 'node:fs'
import { peerIdFromString } from '@libp2p/peer-id'
import { Float } from './msgpack.mjs'

export class Schema {
  constructor (document) {
    const page = readFileSync(document, 'utf8')
    this.structs = new Map()
    for (const [, name, table] of page.matchAll(/<!-- (\w+) -->\n((?:\|.*\n)+)/g)) {
      const [head, , ...rows] = table.trim().split('\n').map(line => line.split('|').slice(1, -1).map(cell => cell.trim()))
      const fields = rows.map(([field, type, note]) => ({
        name: field.replaceAll('`', ''), fits: this.type(type), type, optional: note.startsWith('default')
      }))
      this.structs.set(name, { name, fields, isArray: head[0] === 'element' })
    }
    // | `job` | JobOrder | job id |
    this.kinds = new Map([...page.matchAll(/^\| `(\w+)` \| ([A-Z]\w+) \|/gm)].map(([, kind, body]) => [kind, body]))
  }

  // The struct that `name` names: by its `type`, or by itself (`results_of` is ResultsOf).
  named (name) {
    const tagged = [...this.structs.values()].find(s => s.fields[0].name === 'type' && s.fields[0].type === `"${name}"`)
    return tagged?.name ?? name.split('_').map(word => word[0].toUpperCase() + word.slice(1)).join('')
  }

  // `value`, if it is a `name`; throws otherwise. `closed`: unknown keys are refused (JobSpec).
  check (name, value, closed = false) {
    const { fields, isArray } = this.structs.get(name) ?? fail(`no table of ${name}`)
    if (isArray ? !Array.isArray(value) : !isMap(value)) fail(`${name} is no ${isArray ? 'array' : 'map'}`)
    fields.forEach((field, i) => {
      const item = isArray ? value[i] : value[field.name]
      if (item === undefined ? !field.optional : !field.fits(item, closed)) fail(`${name}.${field.name} is no ${field.type}: ${String(item).slice(0, 80)}`)
    })
    if (closed) for (const key of Object.keys(value)) if (!fields.some(f => f.name === key)) fail(`${name} has a ${key}`)
    return value
  }

  // 'array (≤ 16) of text (≤ 256)' -> (value, closed) => whether it is one
  type (words) {
    let m
    if ((m = words.match(/^array (\(.*?\)) of (.*)$/))) {
      const [fits, item] = [length(m[1]), this.type(m[2])]
      return (v, closed) => Array.isArray(v) && fits(v.length) && v.every(x => item(x, closed))
    }
    if ((m = words.match(/^\[(.*)\]$/))) {
      const items = m[1].split(', ').map(word => this.type(word))
      return v => Array.isArray(v) && v.length === items.length && items.every((fits, i) => fits(v[i]))
    }
    if ((m = words.match(/^map (\(.*?\)) of (.*) to (.*)$/))) {
      const [fits, key, item] = [length(m[1]), this.type(m[2]), this.type(m[3])]
      return v => isMap(v) && fits(Object.keys(v).length) && Object.entries(v).every(([k, x]) => key(k) && item(x))
    }
    if (words.includes(' or ')) {
      const some = words.split(' or ').map(word => this.type(word))
      return (v, closed) => some.some(fits => fits(v, closed))
    }
    if ((m = words.match(/^\*\*(\w+)\*\*$/))) return (v, closed) => this.check(m[1], v, closed) !== undefined
    if ((m = words.match(/^"(.*)"$/))) return v => v === m[1]
    if ((m = words.match(/^(\d+) hex digits$/))) return v => typeof v === 'string' && v.length === Number(m[1]) && /^[0-9a-f]*$/.test(v)
    if ((m = words.match(/^text (\(.*\))$/))) return sized(length(m[1]), v => typeof v === 'string' && [...v].length)
    if ((m = words.match(/^bytes (\(.*\))$/))) return sized(length(m[1]), v => v instanceof Uint8Array && v.length)
    if ((m = words.match(/^int(?: (.*))?$/))) return ranged(m[1], v => typeof v === 'number' || typeof v === 'bigint')
    if ((m = words.match(/^float (.*)$/))) return ranged(m[1], v => v instanceof Float || typeof v === 'number' || typeof v === 'bigint')
    if (words === 'bool') return v => typeof v === 'boolean'
    if (words === 'nil') return v => v === null
    if (words === 'peer id') return isPeerId
    return fail(`a type that is not understood: ${words}`)
  }
}

export function isPeerId (v) {
  try {
    const id = peerIdFromString(v)
    return id.type === 'Ed25519' && id.toString() === v
  } catch { return false }
}

const isMap = v => v !== null && typeof v === 'object' && Object.getPrototypeOf(v) === null
const number = words => words.includes('^') ? Number(words.split('^')[0]) ** Number(words.split('^')[1]) : Number(words)
const sized = (fits, measure) => v => { const n = measure(v); return n !== false && fits(n) }

// '(≤ 16)', '(8..32)', '(64)'
function length (words) {
  const [, upTo, least, most] = words.match(/^\((≤ )?(\d+)(?:\.\.(\d+))?\)$/) ?? fail(`a length that is not understood: ${words}`)
  return n => n >= (upTo ? 0 : Number(least)) && n <= Number(most ?? least)
}

// '0..2^53', '> 0..1', '0..1000 (excl.)'; nothing: any
function ranged (words, isNumber) {
  if (words === undefined) return isNumber
  const [, above, least, most, below] = words.match(/^(> )?(\S+?)\.\.(\S+?)( \(excl\.\))?$/) ?? fail(`a range that is not understood: ${words}`)
  return v => {
    const x = Number(v) // 2^53 and above: as near as a float is
    return isNumber(v) && Number.isFinite(x) && (above ? x > number(least) : x >= number(least)) && (below ? x < number(most) : x <= number(most))
  }
}

function fail (why) {
  throw new Error(why)
}
