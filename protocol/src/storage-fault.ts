import { endOfString } from './json-text.js'

export interface StorageFault {
  code: 'nul_character' | 'lone_surrogate' | 'too_deep' | 'number_out_of_range'
  /** Where in the text the fault begins. */
  position: number
}

/**
 * What Postgres would refuse, or could not give back, of a text that is valid JSON, when it is stored as jsonb.
 * Found here it is one caller's readable error; found by Postgres it would fail the whole batch the text travels in.
 */
export function storageFault(text: string, maxDepth: number): StorageFault | undefined {
  return surrogateFault(text) ?? escapeFault(text) ?? shapeFault(text, maxDepth)
}

/** A surrogate without its other half has no UTF-8: the driver would silently store U+FFFD instead. */
function surrogateFault(text: string): StorageFault | undefined {
  return text.isWellFormed() ? undefined : { code: 'lone_surrogate', position: text.search(/\p{Surrogate}/u) }
}

/** The same faults written as escapes. A high half is only good with a low half escaped right behind it. */
function escapeFault(text: string): StorageFault | undefined {
  if (!text.includes('\\u')) return undefined
  for (let at = text.indexOf('\\'); at !== -1; at = text.indexOf('\\', at)) {
    const unit = escapedUnit(text, at)
    if (unit === 0) return { code: 'nul_character', position: at }
    if (isLow(unit) || (isHigh(unit) && !isLow(escapedUnit(text, at + 6)))) return { code: 'lone_surrogate', position: at }
    at += isHigh(unit) ? 12 : 2
  }
  return undefined
}

/** The UTF-16 unit of the `\uXXXX` at this place, or NaN if none is there. */
function escapedUnit(text: string, at: number): number {
  return text.startsWith('\\u', at) ? Number.parseInt(text.slice(at + 2, at + 6), 16) : Number.NaN
}

const isHigh = (unit: number) => unit >= 0xd800 && unit <= 0xdbff
const isLow = (unit: number) => unit >= 0xdc00 && unit <= 0xdfff

/** Bounds of Postgres `numeric`, in decimal digits; leading zeros count here, which it would forgive. */
const MAX_INTEGER_DIGITS = 131_072
const MAX_FRACTION_DIGITS = 16_383
/**
 * jsonb keeps 1e9 as a number and writes it back as 1000000000: a text of short numbers can come back a thousand times
 * longer, and the run could then be neither leased nor shown. This many added digits still fit a frame.
 */
const MAX_ADDED_DIGITS = 2 ** 21

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([-+]?[0-9]+))?/gs

/**
 * One pass over brackets and numbers. Postgres reads nested values by recursion, and so do executors. Numbers are read
 * closely only in the rare text that has a long one or an exponent.
 */
function shapeFault(text: string, maxDepth: number): StorageFault | undefined {
  let depth = 0
  let hasUnusualNumber = false
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at)
    if (char === 0x22) at = endOfString(text, at) - 1
    else if (char === 0x5b || char === 0x7b) {
      if (++depth > maxDepth) return { code: 'too_deep', position: at }
    } else if (char === 0x5d || char === 0x7d) depth--
    else if (isDigit(char)) {
      const start = at
      while (isDigit(text.charCodeAt(at + 1))) at++
      const next = text.charCodeAt(at + 1) | 0x20
      hasUnusualNumber ||= next === 0x65 || at - start >= MAX_FRACTION_DIGITS - 1
    }
  }
  return hasUnusualNumber ? numberFault(text) : undefined
}

const isDigit = (char: number) => char >= 0x30 && char <= 0x39

function numberFault(text: string): StorageFault | undefined {
  let added = 0
  for (const { 1: integer, 2: fraction = '', 3: exponent = '0', index } of text.matchAll(STRING_OR_NUMBER)) {
    if (integer === undefined) continue
    const shift = Number(exponent)
    added += Math.abs(shift)
    if (integer.length + shift > MAX_INTEGER_DIGITS || fraction.length - shift > MAX_FRACTION_DIGITS || added > MAX_ADDED_DIGITS)
      return { code: 'number_out_of_range', position: index }
  }
  return undefined
}
