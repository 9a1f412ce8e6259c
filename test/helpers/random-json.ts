import { choices } from './choices.js'

/** Random valid JSON texts, spelled in every way the grammar allows: spaces, escapes, number forms, duplicate names. */
export class RandomJson {
  readonly #below: (limit: number) => number

  /** The same seed gives the same texts. */
  constructor(seed: number) {
    this.#below = choices(seed)
  }

  document(depth = 4): string {
    const kinds = depth > 0 ? ['object', 'array', 'string', 'number', 'word'] : ['string', 'number', 'word']
    const kind = this.#pick(kinds)
    return this.#space() + this.#value(kind, depth) + this.#space()
  }

  object(depth = 4): string {
    return `{${this.#list(() => `${this.#space()}${this.string()}${this.#space()}:${this.document(depth - 1)}`)}}`
  }

  array(depth = 4): string {
    return `[${this.#list(() => this.document(depth - 1))}]`
  }

  string(): string {
    let text = ''
    for (let i = this.#below(6); i > 0; i--) text += this.#character()
    return `"${text}"`
  }

  number(): string {
    const sign = this.#pick(['', '-'])
    const integer = this.#pick(['0', String(1 + this.#below(9)), `${1 + this.#below(9)}${this.#digits(1 + this.#below(25))}`])
    const fraction = this.#pick(['', '', '.0', `.${this.#digits(1 + this.#below(20))}`])
    const exponent = this.#pick(['', '', '', `${this.#pick(['e', 'E'])}${this.#pick(['', '+', '-'])}${this.#below(330)}`])
    return sign + integer + fraction + exponent
  }

  #value(kind: string, depth: number): string {
    if (kind === 'object') return this.object(depth)
    if (kind === 'array') return this.array(depth)
    if (kind === 'string') return this.string()
    return kind === 'number' ? this.number() : this.#pick(['true', 'false', 'null'])
  }

  #list(item: () => string): string {
    const items = Array.from({ length: this.#below(5) }, item)
    return items.length === 0 ? this.#space() : items.join(',')
  }

  /** Few different letters, so that names collide; then everything that is special to somebody. */
  #character(): string {
    const code = this.#pick([0x61, 0x62, 0x31, 0x41, 0x2f, 0x3c, 0x7f, 0xe9, 0x2028, 0xe000, 0xffff, 0x10000, 0x1f600, 0x08, 0x0a, 0x1f, 0x22, 0x5c])
    const character = String.fromCodePoint(code)
    if (code >= 0x20 && code !== 0x22 && code !== 0x5c && this.#below(3) > 0) return character
    const short = JSON.stringify(character).slice(1, -1)
    return this.#below(2) > 0 && short !== character ? short : this.#escaped(character)
  }

  #escaped(character: string): string {
    const units = [...Array(character.length).keys()].map((i) => character.charCodeAt(i).toString(16).padStart(4, '0'))
    return units.map((hex) => `\\u${this.#pick([hex, hex.toUpperCase()])}`).join('')
  }

  #space(): string {
    return this.#below(4) > 0 ? '' : this.#pick([' ', '\n', '\t', '\r\n  '])
  }

  #digits(count: number): string {
    return Array.from({ length: count }, () => this.#below(10)).join('')
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)] as T
  }
}
