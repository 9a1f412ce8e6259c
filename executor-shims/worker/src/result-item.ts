import type { ReleaseReason, ResultItem, RunError } from '../../../protocol/src/index.js'
import type { Settlement, Stop } from './executor.js'
import { storable } from './storable-text.js'

/** A `result` item before it has a handle: handles change with the link, the rest stays. */
export type Report = Omit<ResultItem, 'l'>

/** How a lease ends: with a result, or given back without costing the run an attempt. */
export type Handover = { report: Report } | { release: ReleaseReason }

/** How large one result may be: its output, and the whole of it within a frame. */
export interface ResultLimits {
  output: number
  frame: number
}

/** What a frame holds around its only item. */
const FRAME_ROOM_BYTES = 128

/**
 * What to tell the broker about an attempt that ended. One that we stopped for our own reasons is given back, unless it
 * succeeded all the same or somebody had asked to cancel it.
 */
export function handoverOf(settlement: Settlement, wallMs: number, stop: Stop | undefined, cancelRequested: boolean): Handover {
  if (settlement.outcome !== 'ok') {
    if (cancelRequested && stop) return { report: reportOf({ ...settlement, outcome: stop.reason === 'timeout' ? 'timeout' : 'cancelled' }, wallMs) }
    if (stop?.reason === 'shutdown') return { release: 'shutdown' }
    if (stop?.reason === 'lost_lease') return { release: 'preempted' }
  }
  return { report: reportOf(settlement, wallMs) }
}

/** The words of a Settlement as the wire has them. Whatever an executor put in, the frame will be a legal one. */
export function reportOf({ outcome, output, error, retryable, retryAfterMs, holdQueue, exit }: Settlement, wallMs: number): Report {
  const report: Report = { outcome, wall_ms: milliseconds(wallMs) }
  if (outcome === 'ok') report.output = output ?? 'null'
  if (error) report.error = errorOf(error)
  if (retryable !== undefined) report.retryable = retryable
  if (retryAfterMs !== undefined) report.retry_after_ms = milliseconds(retryAfterMs)
  if (holdQueue) report.hold_queue = true
  if (exit) report.exit = { ...(exit.code !== undefined && { code: exit.code }), ...(exit.signal !== undefined && { signal: exit.signal.slice(0, 32) }) }
  return report
}

/** The report as JSON, made to fit: an output over the limit fails its own run, and never the frame it travels in. */
export function fitted(report: Report, { output: outputBytes, frame: frameBytes }: ResultLimits): string {
  if (report.output !== undefined) {
    const bytes = Buffer.byteLength(report.output)
    if (bytes > outputBytes) return JSON.stringify(tooLarge(report, bytes, outputBytes))
  }
  const text = JSON.stringify(report)
  if (fits(text, frameBytes)) return text
  // Quotes and backslashes double inside a JSON string, so an output within its own limit may still burst the frame.
  if (report.output !== undefined) return JSON.stringify(tooLarge(report, Buffer.byteLength(text), frameBytes))
  return JSON.stringify(withoutTraceback(report))
}

function fits(text: string, frameBytes: number): boolean {
  return Buffer.byteLength(text) <= frameBytes - FRAME_ROOM_BYTES
}

/** Running it again would repeat its effects and make the same output, so this is final. */
function tooLarge({ wall_ms }: Report, bytes: number, limit: number): Report {
  const message = `The output is ${bytes} bytes, the broker's limit is ${limit}. Store it elsewhere and return where it is`
  return { outcome: 'error', error: { class: 'OutputTooLarge', message }, retryable: false, ...(wall_ms !== undefined && { wall_ms }) }
}

function withoutTraceback({ error, ...report }: Report): Report {
  return { ...report, ...(error && { error: { class: error.class, message: error.message.slice(0, 4_096) } }) }
}

/** Limits of RunError in the protocol: a refused frame would take every result in it along. */
function errorOf({ class: name, message, traceback }: RunError): RunError {
  return {
    class: storable(name, 255),
    message: storable(message, 65_536),
    ...(traceback !== undefined && { traceback: storable(traceback, 262_144) }),
  }
}

function milliseconds(value: number): number {
  return Number.isFinite(value) ? Math.min(Math.max(Math.round(value), 0), Number.MAX_SAFE_INTEGER) : 0
}
