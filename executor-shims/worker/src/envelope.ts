import { members, storageFault, type StorageFault } from '../../../protocol/src/index.js'
import type { Captured } from './bounded-output.js'
import { ENVELOPE_MARK } from './envelope-guard.js'
import type { Settlement } from './executor.js'
import type { Exit } from './process-group.js'
import { storable } from './storable-text.js'

/** Everything a finished one-shot executor left behind. */
export interface Evidence {
  /** What came on descriptor 3. */
  channel: Captured
  stdout: Captured
  /** The end of stderr, as text. */
  stderr: string
  exit: Exit
  maxOutputBytes: number
}

/** What an envelope may hold beside the return value: class, message, traceback. */
export const ENVELOPE_ROOM_BYTES = 262_144

export interface Envelope {
  ok: boolean
  exception_class?: unknown
  message?: unknown
  traceback?: unknown
  retryable?: unknown
  retry_after_ms?: unknown
  postpone_ms?: unknown
  hold_queue?: unknown
}

type Reading = { text: string; envelope: Envelope } | { missing: true } | { fault: Settlement }

/** The envelope is the truth; the exit only explains a missing one (RQ-EXEC-020). */
export function settle(evidence: Evidence): Settlement {
  const reading = evidence.channel.bytes.length > 0 ? readChannel(evidence) : readStdout(evidence)
  if ('missing' in reading) return crashed(evidence)
  if ('fault' in reading) return reading.fault
  return settleEnvelope(reading.text, reading.envelope, evidence.maxOutputBytes)
}

/** `text` is the envelope as it came, so that the return value travels as it was written. */
export function settleEnvelope(text: string, envelope: Envelope, maxOutputBytes: number): Settlement {
  return envelope.ok ? succeeded(text, maxOutputBytes) : failed(envelope)
}

/** The first line counts; what follows it is noise. */
function readChannel({ channel, exit, maxOutputBytes }: Evidence): Reading {
  const start = channel.bytes.findIndex((byte) => byte > SPACE)
  if (start === -1) return { missing: true }
  const end = channel.bytes.indexOf(NEWLINE, start)
  if (end === -1 && channel.overflowed) return { fault: tooLarge(maxOutputBytes) }
  const reading = readText(channel.bytes.subarray(start, end === -1 ? undefined : end))
  // A line that breaks off where the process died was never an envelope.
  return 'fault' in reading && end === -1 && isAbnormal(exit) ? { missing: true } : reading
}

/**
 * All of stdout is the envelope, whatever the exit: it may also just be what a dying program printed. Or its last line is, after what
 * a child process or an extension wrote there behind the executor's back.
 */
function readStdout({ stdout, exit, maxOutputBytes }: Evidence): Reading {
  const first = stdout.bytes.find((byte) => byte > SPACE)
  if (first === undefined) return { missing: true }
  if (stdout.overflowed) return first === BRACE ? { fault: tooLarge(maxOutputBytes) } : { missing: true }
  const reading = readText(stdout.bytes)
  if (!('fault' in reading)) return reading
  const last = readLastLine(stdout.bytes)
  if (last !== undefined && !('fault' in last)) return last
  return isAbnormal(exit) ? { missing: true } : reading
}

function readLastLine(bytes: Uint8Array): Reading | undefined {
  const end = bytes.findLastIndex((byte) => byte > SPACE) + 1
  const line = bytes.subarray(bytes.lastIndexOf(NEWLINE, end - 1) + 1, end)
  // The beginning that keeps it out of the log (EnvelopeGuard).
  return ENVELOPE_MARK.equals(line.subarray(0, ENVELOPE_MARK.length)) ? readText(line) : undefined
}

const SPACE = 0x20
const NEWLINE = 0x0a
const BRACE = 0x7b

function readText(bytes: Uint8Array): Reading {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { fault: invalidOutput('The result is not valid UTF-8') }
  }
  try {
    const value: unknown = JSON.parse(text)
    return isEnvelope(value) ? { text, envelope: value } : { fault: invalidOutput(`The result has no member "ok": ${excerpt(text)}`) }
  } catch {
    return { fault: notJson(text) }
  }
}

export function isEnvelope(value: unknown): value is Envelope {
  return typeof value === 'object' && value !== null && 'ok' in value && typeof value.ok === 'boolean'
}

function isAbnormal(exit: Exit): boolean {
  return exit.code !== 0
}

function succeeded(text: string, maxOutputBytes: number): Settlement {
  const output = members(text).get('return')
  if (output === undefined) return { outcome: 'ok' }
  if (Buffer.byteLength(output) > maxOutputBytes) return tooLarge(maxOutputBytes)
  // How deep it may be nested is for the broker to say.
  const fault = storageFault(output, Number.POSITIVE_INFINITY)
  return fault === undefined ? { outcome: 'ok', output } : invalidOutput(`The result cannot be kept: ${FAULTS[fault.code]} (at character ${fault.position})`, false)
}

const FAULTS: Record<StorageFault['code'], string> = {
  nul_character: 'it contains the character \\u0000, which Postgres cannot store',
  lone_surrogate: 'it contains half of a surrogate pair, which is not a character',
  number_out_of_range: 'it contains a number that Postgres cannot store',
  too_deep: 'it is nested too deeply',
}

function failed(envelope: Envelope): Settlement {
  const { exception_class, message, traceback, retryable, retry_after_ms, postpone_ms, hold_queue } = envelope
  const error = {
    class: storable(asText(exception_class, 'Error'), 255),
    message: storable(asText(message, ''), 65_536),
    ...(typeof traceback === 'string' && traceback !== '' && { traceback: storable(traceback, 262_144) }),
  }
  if (isDelay(postpone_ms)) return { outcome: 'postponed', error, retryAfterMs: Math.round(postpone_ms), ...(hold_queue === true && { holdQueue: true }) }
  return {
    outcome: 'error',
    error,
    ...(typeof retryable === 'boolean' && { retryable }),
    ...(isDelay(retry_after_ms) && { retryAfterMs: Math.round(retry_after_ms) }),
  }
}

function asText(value: unknown, otherwise: string): string {
  return typeof value === 'string' && value !== '' ? value : otherwise
}

function isDelay(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER
}

function crashed({ exit, stderr, stdout }: Evidence): Settlement {
  const said = stderr.trim() !== '' ? stderr : new TextDecoder().decode(stdout.bytes.subarray(-8_192))
  const lastLine = said.trimEnd().split('\n').at(-1)?.trim()
  return {
    outcome: 'crashed',
    error: {
      class: 'ExecutorCrashed',
      message: storable(describe(exit) + (lastLine ? `: ${lastLine}` : ''), 65_536),
      ...(said.trim() !== '' && { traceback: storable(said, 262_144) }),
    },
    exit,
  }
}

/** For people: how a process ended that owed a result. */
function describe({ code, signal }: Exit): string {
  if (code === undefined && signal === undefined) return 'The process that had started the executor ended, and the executor with it'
  if (signal === 'SIGKILL') return 'The executor was killed (SIGKILL) before it gave a result; running out of memory is the usual reason'
  return signal !== undefined ? `The executor died of ${signal} before it gave a result` : `The executor ended with exit code ${code ?? '?'} and without a result`
}

/** Running the code again would repeat its effects and make the same output, so these end the run: `retryable` false. */
export function tooLarge(maxOutputBytes: number): Settlement {
  const message = `The result is larger than the limit of ${maxOutputBytes} bytes. Store it elsewhere and return where it is`
  return { outcome: 'error', error: { class: 'OutputTooLarge', message }, retryable: false }
}

export function notJson(text: string): Settlement {
  const odd = /[[:,\s](NaN|-?Infinity)\s*[\],}]/.exec(text)
  if (odd !== null) return invalidOutput(`The result contains ${odd[1]}, which JSON cannot express`, false)
  return invalidOutput(`The result is not JSON. Only the executor may write where the result goes; found: ${excerpt(text)}`)
}

export function invalidOutput(message: string, retryable?: false): Settlement {
  return { outcome: 'error', error: { class: 'InvalidOutput', message: storable(message, 65_536) }, ...(retryable === false && { retryable }) }
}

function excerpt(text: string): string {
  const line = text.trim()
  return line.length <= 200 ? line : `${line.slice(0, 200)}…`
}
