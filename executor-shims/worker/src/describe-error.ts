import type { RunError } from '../../../protocol/src/index.js'
import { storable } from './storable-text.js'

// The limits of RunError in the protocol; what is longer is cut here, because a refused frame would lose the result.
const CLASS_CHARS = 255
const MESSAGE_CHARS = 65_536
const TRACEBACK_CHARS = 262_144

/** Anything that was thrown, as a RunError: the stack carries the chain of causes. */
export function describeError(thrown: unknown): RunError {
  if (!(thrown instanceof Error)) return { class: typeof thrown, message: storable(textOf(thrown), MESSAGE_CHARS) }
  return {
    class: storable(String(thrown.name || thrown.constructor.name), CLASS_CHARS),
    message: storable(String(thrown.message), MESSAGE_CHARS),
    traceback: storable(causeChain(thrown), TRACEBACK_CHARS),
  }
}

function causeChain(error: Error): string {
  const seen = new Set<unknown>()
  const lines: string[] = []
  for (let current: unknown = error; current !== undefined && current !== null && !seen.has(current); current = current instanceof Error ? current.cause : undefined) {
    seen.add(current)
    lines.push(current instanceof Error ? (current.stack ?? `${current.name}: ${current.message}`) : textOf(current))
  }
  return lines.join('\nCaused by: ')
}

function textOf(value: unknown): string {
  try {
    return typeof value === 'object' ? (JSON.stringify(value) ?? String(value)) : String(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}
