import { InvalidOption } from './errors.js'

/**
 * A number that travels as a float even when it is whole: `float(2)` is written `2.0`, which Python reads as a float, and
 * which hashes differently from `2`. For arguments of an enqueue; the type says `number`, as which the task receives it.
 * Throws InvalidOption for NaN and infinities, which JSON has no word for.
 */
export function float(value: number): number {
  if (!Number.isFinite(value)) throw new InvalidOption(`float(${value}): JSON has no such number`, 'send null or text instead')
  return new Float(value) as unknown as number
}

/** JSON text, with floats as such. Throws what JSON.stringify throws. */
export function jsonText(value: unknown): string {
  // JSON.stringify can print no number as 2.0. So floats go in as text that nobody else can have written, and lose its quotes.
  printing.mark ??= `float ${crypto.randomUUID()} `
  printing.isOn = true
  printing.met = false
  try {
    const text = JSON.stringify(value)
    return printing.met ? text.replaceAll(new RegExp(`"${printing.mark}([^"]+)"`, 'g'), '$1') : text
  } finally {
    printing.isOn = false
  }
}

interface Printing {
  isOn: boolean
  met: boolean
  /** Made when first needed: some runtimes have no randomness while a module loads. */
  mark: string | undefined
}
/** Shared by all copies of this package: the one that prints may not be the one that made the float. */
const SHARED = Symbol.for('reproq.float')
const printing = ((globalThis as { [SHARED]?: Printing })[SHARED] ??= { isOn: false, met: false, mark: undefined })

class Float {
  readonly #value: number

  constructor(value: number) {
    this.#value = value
  }

  toJSON(): unknown {
    if (!printing.isOn) return this.#value
    printing.met = true
    return printing.mark + floatText(this.#value)
  }

  valueOf(): number {
    return this.#value
  }
}

/** Anything with a fraction or an exponent is a float already. */
function floatText(value: number): string {
  const text = Object.is(value, -0) ? '-0' : String(value)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}
