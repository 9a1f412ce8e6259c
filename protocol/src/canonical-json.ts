import { endOfScalar, endOfString, skipSpace, stringValue } from './json-text.js'

/**
 * The canonical form of valid JSON text, which Reproq hashes: what CPython's `json.dumps(sort_keys=True,
 * separators=(',', ':'), ensure_ascii=False)` prints, digit for digit. It reads text, because a parsed number has forgotten
 * whether it was written 1 or 1.0. A lone surrogate has no such form (Python refuses it too) and throws.
 */
export function canonicalJson(text: string): string {
  if (!text.isWellFormed()) throw loneSurrogate()
  return new Canonical(text).value()
}

/** One pass over the text; `value` prints what begins at the current position and moves behind it. */
class Canonical {
  readonly #text: string
  #at: number

  constructor(text: string) {
    this.#text = text
    this.#at = skipSpace(text, 0)
  }

  value(): string {
    const first = this.#text.charCodeAt(this.#at)
    if (first === 0x22) return canonicalString(this.#take(endOfString(this.#text, this.#at)))
    if (first === 0x7b) return this.#object()
    if (first === 0x5b) return this.#array()
    return canonicalScalar(this.#take(endOfScalar(this.#text, this.#at)))
  }

  #array(): string {
    this.#skip()
    let items = ''
    while (this.#text.charCodeAt(this.#at) !== 0x5d) {
      const item = this.value()
      items += items === '' ? item : `,${item}`
      this.#skipComma()
    }
    this.#at++
    return `[${items}]`
  }

  #object(): string {
    this.#skip()
    const members: Member[] = []
    let ordered = true
    while (this.#text.charCodeAt(this.#at) !== 0x7d) {
      const literal = this.#take(endOfString(this.#text, this.#at))
      const name = stringValue(literal)
      this.#at = skipSpace(this.#text, this.#at)
      this.#skip()
      const last = members[members.length - 1]
      ordered &&= last === undefined || byCodePoint(last.name, name) < 0
      members.push({ name, text: `${canonicalString(literal)}:${this.value()}` })
      this.#skipComma()
    }
    this.#at++
    return `{${joined(ordered ? members : sorted(members))}}`
  }

  #take(end: number): string {
    const taken = this.#text.slice(this.#at, end)
    this.#at = end
    return taken
  }

  /** Steps over one bracket or colon. */
  #skip(): void {
    this.#at = skipSpace(this.#text, this.#at + 1)
  }

  #skipComma(): void {
    this.#at = skipSpace(this.#text, this.#at)
    if (this.#text.charCodeAt(this.#at) === 0x2c) this.#skip()
  }
}

/** Without escapes a literal is its own canonical form; else JavaScript and Python escape the same characters the same way. */
function canonicalString(literal: string): string {
  if (!literal.includes('\\')) return literal
  const value = stringValue(literal)
  if (!value.isWellFormed()) throw loneSurrogate()
  return JSON.stringify(value)
}

function canonicalScalar(source: string): string {
  const first = source.charCodeAt(0)
  if (first >= 0x61) return source // true, false, null
  if (/^-?\d+$/.test(source)) return source === '-0' ? '0' : source
  return pythonFloat(Number(source))
}

/** `repr(float)`: the shortest digits, like JavaScript's, but positional exactly when −4 ≤ exponent < 16. */
function pythonFloat(value: number): string {
  if (Number.isNaN(value) || !Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity'
  const size = Math.abs(value)
  if (size === 0) return Object.is(value, -0) ? '-0.0' : '0.0'
  if (size >= 1e-4 && size < 1e16) return Number.isInteger(value) ? `${value}.0` : String(value)
  return value.toExponential().replace(/e([-+])(\d)$/, 'e$10$2')
}

interface Member {
  name: string
  text: string
}

/** By name; of duplicate names the last one counts, and a stable sort has left it last. */
function sorted(members: Member[]): Member[] {
  members.sort((a, b) => byCodePoint(a.name, b.name))
  return members.filter(({ name }, i) => name !== members[i + 1]?.name)
}

/** Adding strings beats `map` and `join` here by a third: the pieces are flattened once, by the hash. */
function joined(members: Member[]): string {
  let text = ''
  for (const member of members) text += text === '' ? member.text : `,${member.text}`
  return text
}

/** UTF-16 puts surrogate pairs (U+10000 and up) before U+E000 to U+FFFF; code points put them behind. */
function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i)
    const right = b.charCodeAt(i)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

const rank = (unit: number) => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit)

const loneSurrogate = () => new SyntaxError('JSON text with a lone surrogate has no canonical form')
