import { exitCodes } from '../exit-codes.js'
import { failure } from '../failure.js'

export type Flags = Record<string, string | undefined>

/**
 * Flags as Go's `flag` package reads them: `-x v`, `--x v`, `-x=v`, `--x=v`, and `-x` alone for those that are true or false. Words
 * behind the first that is no flag are ignored, as there. `-h` and `-help` print the usage on standard error and end with 0. Throws
 * INVALID_USAGE.
 */
export function goFlags(command: string, words: readonly string[], names: readonly string[], booleans: readonly string[] = []): Flags {
  const flags: Flags = {}
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string
    const [, name, value] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(word) ?? []
    if (word === '--' || name === undefined) break
    if (booleans.includes(name)) {
      flags[name] = value ?? 'true'
    } else if (names.includes(name)) {
      const given = value ?? words[++at]
      if (given === undefined) throw failure('INVALID_USAGE', `${command}: flag needs an argument: -${name}`, usage(command, names, booleans))
      flags[name] = given
    } else if (name === 'h' || name === 'help') {
      process.stderr.write(`Usage of ${command}:\n  ${usage(command, names, booleans)}\n`)
      process.exit(exitCodes.OK)
    } else throw failure('INVALID_USAGE', `${command}: flag provided but not defined: -${name}`, usage(command, names, booleans))
  }
  return flags
}

function usage(command: string, names: readonly string[], booleans: readonly string[]): string {
  return `reproq ${command} ${[...names.map((name) => `[-${name} …]`), ...booleans.map((name) => `[-${name}]`)].join(' ')}`
}

export const isSet = (flag: string | undefined): boolean => flag !== undefined && /^(1|t|true|T|TRUE|True)$/.test(flag)

/** Of run ids: what Postgres would refuse is told as usage. */
export function idOf(text: string | undefined): string {
  if (text !== undefined && /^\d{1,18}$/.test(text)) return text
  throw failure('INVALID_USAGE', `-id is ${text === undefined ? 'missing' : `"${text}"`}`, 'it takes the number of a run')
}

/** Throws INVALID_OPTION. */
export function numberOf(flag: string, text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value)) return value
  throw failure('INVALID_OPTION', `${flag} is "${text}"`, 'it takes a number')
}

const UNITS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** A duration as Go writes it, in milliseconds: 30s, 1h30m, 100ms. Throws INVALID_OPTION. */
export function durationMs(flag: string, text: string): number {
  const pieces = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)]
  if (pieces.length > 0 && pieces.map(([piece]) => piece).join('') === text) return pieces.reduce((sum, [, value, unit]) => sum + Number(value) * (UNITS[unit as string] ?? 0), 0)
  throw failure('INVALID_OPTION', `${flag} is "${text}"`, 'it takes a duration such as 30s, 1m30s or 100ms')
}
