import { members, storageFault, type StorageFault } from '../../../protocol/src/index.js'
import type { Captured } from './bounded-output.js'
import type { Settlement } from './executor.js'
import type { Exit } from './process-group.js'
import { storable } from './storable-text.js'

/** Everything a finished one-shot executor left behind. */
export interface Evidence {
  /** What came on descriptor 3 beside messages; undefined when nothing at all came there. */
  channel: Captured | undefined
  stdout: Captured
  /** The last line of stdout, when it begins like an envelope. */
  lastLine: Captured | undefined
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

export type Reading = { text: string; envelope: Envelope } | { missing: true } | { fault: Settlement }

/** The envelope is the truth; the exit only explains a missing one (RQ-EXEC-020). */
export function settle(evidence: Evidence, reading: Reading = readEnvelope(evidence)): Settlement {
  if ('missing' in reading) return crashed(evidence)
  if ('fault' in reading) return reading.fault
  return settleEnvelope(reading.text, reading.envelope, evidence.maxOutputBytes)
}

export function readEnvelope(evidence: Evidence): Reading {
  return evidence.channel === undefined ? readStdout(evidence) : readChannel(evidence.channel, evidence)
}

/** `text` is the envelope as it came, so that the return value travels as it was written. */
export function settleEnvelope(text: string, envelope: Envelope, maxOutputBytes: number): Settlement {
  return envelope.ok ? succeeded(text, maxOutputBytes) : failed(envelope)
}

/** The first line counts; what follows it is noise. */
function readChannel(channel: Captured, { exit, maxOutputBytes }: Evidence): Reading {
  const start = channel.bytes.findIndex((byte) => byte > SPACE)
  if (start === -1) return { missing: true }
  const end = channel.bytes.indexOf(NEWLINE, start)
  if (end === -1 && channel.overflowed) return { fault: tooLarge(maxOutputBytes) }
  const reading = readText(channel.bytes.subarray(start, end === -1 ? undefined : end))
  // A line that breaks off where the process died was never an envelope.
  return 'fault' in reading && end === -1 && isAbnormal(exit) ? { missing: true } : reading
}

/**
 * All of stdout is the envelope, whatever the exit. Or its last line is, after what a child process or an extension wrote there behind the
 * executor's back; but that line may also just be what a program printed before it died.
 */
function readStdout({ stdout, lastLine, exit, maxOutputBytes }: Evidence): Reading {
  const { bytes, overflowed } = stdout
  const all: Reading = overflowed || bytes.every((byte) => byte <= SPACE) ? { missing: true } : readText(bytes)
  if ('envelope' in all) return all
  const last: Reading = lastLine === undefined ? { missing: true } : lastLine.overflowed ? { fault: tooLarge(maxOutputBytes) } : readText(lastLine.bytes)
  if (!('missing' in last) && isBorneOut(last, exit)) return last
  return isAbnormal(exit) ? { missing: true } : all
}

/** An executor that has said how a run failed may tell it by its exit status too; it does not die. */
function isBorneOut(reading: Reading, exit: Exit): boolean {
  return 'envelope' in reading && !reading.envelope.ok ? exit.code !== undefined : !isAbnormal(exit)
}

const SPACE = 0x20
const NEWLINE = 0x0a

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
