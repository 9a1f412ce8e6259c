import type { WorkerFrameOf } from '../../../protocol/src/index.js'
import type { Config } from '../config.js'
import { storable } from '../runs/storable.js'
import type { Entry } from './ledger.js'
import type { Link } from './link.js'

/** A checkpoint comes back in a frame, beside a spec. */
export const checkpointLimit = ({ checkpointBytes, frameBytes }: Config): number => Math.min(checkpointBytes, frameBytes >> 3)

/** Room for a worker's last words on a stream: that it is cut off here. */
const LAST_WORDS_BYTES = 1_024
const STREAMS = 3

/** Output is worth less than anything else here: nothing is answered, nothing waits, and what does not fit is counted. */
export function log(link: Link, { items }: WorkerFrameOf['log']): void {
  for (const { l, seq, stream, off, text, dropped = 0 } of items) {
    const entry = link.ledger.get(l)
    if (!entry || !mayKeep(link, entry, off, text.length)) continue
    const output = outputOf(link, entry)
    const { run, attempt } = entry
    const isKept = link.context.output.add({ run, attempt, stream, seq, dropped: dropped + output.dropped, text: storable(text) })
    output.dropped = isKept ? 0 : output.dropped + dropped + Buffer.byteLength(text)
    if (isKept) output.characters += text.length
  }
}

/** `off` is the worker's word; what came is counted too. */
function mayKeep({ context: { config } }: Link, { output }: Entry, off: number, characters: number): boolean {
  if (config.logBytes === 0) return false
  const limit = config.logBytes + LAST_WORDS_BYTES
  return off + characters <= limit && (output?.characters ?? 0) + characters <= STREAMS * limit
}

function outputOf(link: Link, entry: Entry) {
  if (!entry.output) {
    entry.output = { dropped: 0, characters: 0 }
    link.context.output.announce(entry.run)
  }
  return entry.output
}

/** How far runs are; and what their next attempts should know, which is stored before the result of this one. */
export function progress(link: Link, { items }: WorkerFrameOf['progress']): void {
  const { config, progress: latest } = link.context
  for (const { l, pct, note, data, checkpoint } of items) {
    const entry = link.ledger.get(l)
    if (!entry) continue
    if (checkpoint !== undefined) keep(link, entry, checkpoint)
    const isFit = data !== undefined && Buffer.byteLength(data) <= checkpointLimit(config) && isJson(data)
    if (pct !== undefined || note !== undefined || isFit) {
      // On one line, as an event stream wants it: the only line breaks of JSON are between its tokens.
      latest.said(entry.run, entry.attempt, { pct, note: note && storable(note), data: isFit ? data.replace(/[\r\n]+/g, ' ') : undefined })
    }
  }
}

function keep(link: Link, entry: Entry, data: string): void {
  const { config, output, log } = link.context
  const { run, lease } = entry
  const bytes = Buffer.byteLength(data)
  const limit = checkpointLimit(config)
  if (bytes > limit) return log.warn({ runId: run, bytes, limit }, 'a checkpoint is too large and was not kept')
  const stored = output.checkpoint({ run, lease, data }).catch((error: unknown) => log.warn({ err: error, runId: run }, 'a checkpoint could not be stored'))
  entry.checkpointing = link.track(stored)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
