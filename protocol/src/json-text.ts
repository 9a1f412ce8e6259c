/**
 * JSON as text: takes a document apart without reading its values, so that every digit survives. `JSON.parse` would make
 * 12345678901234570000 of 12345678901234567890, and 1 of 1.0. The text must be known to be valid JSON; text that is not
 * either throws a SyntaxError here or gives a wrong answer, but always ends.
 */

/** The source text of each member of an object. Of duplicate names the last one counts, as for every JSON reader here. */
export function members(objectText: string): Map<string, string> {
  const found = new Map<string, string>()
  let at = open(objectText, OPEN_OBJECT)
  while (objectText.charCodeAt(at) !== CLOSE_OBJECT) {
    const nameEnd = endOfString(objectText, at)
    const start = skipSpace(objectText, skipSpace(objectText, nameEnd) + 1)
    const end = endOfValue(objectText, start)
    found.set(stringValue(objectText.slice(at, nameEnd)), objectText.slice(start, end))
    at = skipComma(objectText, end)
  }
  return found
}

/** The source text of each element of an array. */
export function elements(arrayText: string): string[] {
  const found: string[] = []
  let at = open(arrayText, OPEN_ARRAY)
  while (arrayText.charCodeAt(at) !== CLOSE_ARRAY) {
    const end = endOfValue(arrayText, at)
    found.push(arrayText.slice(at, end))
    at = skipComma(arrayText, end)
  }
  return found
}

/** What a string literal, quotes included, says. */
export function stringValue(literal: string): string {
  return literal.includes('\\') ? (JSON.parse(literal) as string) : literal.slice(1, -1)
}

/** Where the string that opens at `at` ends: one past its closing quote. */
export function endOfString(text: string, at: number): number {
  if (text.charCodeAt(at) !== QUOTE) throw unexpected(text, at)
  let quote = text.indexOf('"', at + 1)
  while (quote !== -1 && escaped(text, quote)) quote = text.indexOf('"', quote + 1)
  if (quote === -1) throw unexpected(text, text.length)
  return quote + 1
}

/** Where the number, `true`, `false` or `null` that starts at `at` ends. */
export function endOfScalar(text: string, at: number): number {
  let end = at
  while (SCALAR[text.charCodeAt(end)] === 1) end++
  if (end === at) throw unexpected(text, at)
  return end
}

/** The first position from `at` on that is not white space. */
export function skipSpace(text: string, at: number): number {
  let code = text.charCodeAt(at)
  while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) code = text.charCodeAt(++at)
  return at
}

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** 1 for each character a number or a word is made of. */
const SCALAR = Uint8Array.from({ length: 128 }, (_, code) => (/[-+.0-9A-Za-z]/.test(String.fromCharCode(code)) ? 1 : 0))

function open(text: string, bracket: number): number {
  const at = skipSpace(text, 0)
  if (text.charCodeAt(at) !== bracket) throw unexpected(text, at)
  return skipSpace(text, at + 1)
}

function skipComma(text: string, at: number): number {
  const next = skipSpace(text, at)
  return text.charCodeAt(next) === COMMA ? skipSpace(text, next + 1) : next
}

function endOfValue(text: string, at: number): number {
  const first = text.charCodeAt(at)
  if (first === QUOTE) return endOfString(text, at)
  return first === OPEN_OBJECT || first === OPEN_ARRAY ? endOfContainer(text, at) : endOfScalar(text, at)
}

/** Counts brackets of both kinds alike: in valid JSON they match. */
function endOfContainer(text: string, at: number): number {
  let depth = 0
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = endOfString(text, i) - 1
    else if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++
    else if ((code === CLOSE_OBJECT || code === CLOSE_ARRAY) && --depth === 0) return i + 1
  }
  throw unexpected(text, text.length)
}

/** Whether an odd number of backslashes stands before `at`. */
function escaped(text: string, at: number): boolean {
  let first = at
  while (text.charCodeAt(first - 1) === BACKSLASH) first--
  return (at - first) % 2 === 1
}

function unexpected(text: string, at: number): SyntaxError {
  const what = at < text.length ? `Unexpected ${JSON.stringify(text.charAt(at))}` : 'Unexpected end'
  return new SyntaxError(`${what} at position ${at} of JSON text`)
}
