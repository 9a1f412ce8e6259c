import { invalidOutput, isEnvelope, notJson, type Envelope } from './envelope.js'
import type { Assignment, Settlement } from './executor.js'
import { extendMessageOf, type ExtendMessage } from './extend-message.js'

/** What a loop executor says, one line each (executor-shims/CONTRACT.md). `text` is the line as it came. */
export type Reply =
  | { t: 'ready'; protocol: unknown; caps: string[] }
  | { t: 'done'; id: string; text: string; envelope: Envelope }
  | { t: 'progress'; id: string; text: string }
  | { t: 'extend'; id: string; message: ExtendMessage }
  | { t: 'recycle'; reason: string }
  /** Kinds this worker does not know, and answers it did not ask for. */
  | { t: 'other' }

/** A line that says nothing a worker can go by. */
export interface Fault {
  fault: Settlement
}

export function replyOf(line: Uint8Array): Reply | Fault {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(line)
  } catch {
    return { fault: invalidOutput('The result is not valid UTF-8') }
  }
  try {
    return readAs(text, JSON.parse(text) as unknown)
  } catch {
    return { fault: notJson(text) }
  }
}

function readAs(text: string, value: unknown): Reply | Fault {
  if (typeof value !== 'object' || value === null) return { fault: invalidOutput(`A message is no object: ${text.slice(0, 200)}`) }
  const { t, id, protocol, caps, reason } = value as Record<string, unknown>
  if (t === 'ready') return { t, protocol, caps: Array.isArray(caps) ? caps.filter((cap) => typeof cap === 'string') : [] }
  if (t === 'recycle') return { t, reason: typeof reason === 'string' ? reason : '' }
  if (t === 'progress' && typeof id === 'string') return { t, id, text }
  if (t === 'extend' && typeof id === 'string') {
    const message = extendMessageOf(value)
    return message ? { t, id, message } : { t: 'other' }
  }
  if (t !== 'done' || typeof id !== 'string') return { t: 'other' }
  return isEnvelope(value) ? { t, id, text, envelope: value } : { fault: invalidOutput(`The result has no member "ok": ${text.slice(0, 200)}`) }
}

/** The line that starts a run. Its spec and checkpoint are JSON in a string, as in the frames of the worker protocol. */
export function runMessage(id: string, { run, task, queue, attempt, max_attempts, spec, timeout_ms, checkpoint }: Assignment): string {
  return `${JSON.stringify({ t: 'run', id, run, task, queue, attempt, max_attempts, timeout_ms, spec, checkpoint })}\n`
}

export function cancelMessage(id: string, graceMs: number, reason: string): string {
  return `${JSON.stringify({ t: 'cancel', id, grace_ms: graceMs, reason })}\n`
}

export const SHUTDOWN_MESSAGE = '{"t":"shutdown"}\n'
