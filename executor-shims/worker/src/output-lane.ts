import { StringDecoder } from 'node:string_decoder'
import { LOG_STREAMS, LOG_TEXT, type LogItem, type LogStream, type ProgressItem, type WorkerFrame } from '../../../protocol/src/index.js'
import type { TaskLog } from '../../../sdk-ts/src/define-task.js'
import { ExtendRefused } from '../../../sdk-ts/src/errors.js'
import type { Voice } from './executor.js'
import type { Link, Welcome } from './link.js'
import type { Progress } from './progress.js'
import type { HeldRun } from './slots.js'
import { storable } from './storable-text.js'

export interface OutputLaneOptions {
  link: Pick<Link, 'isOpen' | 'bufferedBytes' | 'send'>
  /** Milliseconds, monotonic. */
  now: () => number
  log: TaskLog
  /** Asks for another run-time limit; see Voice. */
  extend?: (held: HeldRun, timeoutMs: number) => Promise<number>
}

/** What code prints in one breath goes out together. */
const FLUSH_MS = 100
const PROGRESS_EVERY_MS = 1_000
/** With more than this on its way, output waits: heartbeats and results come first. */
const BUSY_BYTES = 262_144
/** Kept while it waits: of one run, and of all. */
const RUN_CHARACTERS = 524_288
const ALL_CHARACTERS = 4_194_304
const FRAME_CHARACTERS = 65_536
const FRAME_ITEMS = 500

type Piece = Omit<LogItem, 'l'>

/** One run that has said something. */
interface Said {
  pieces: Piece[]
  characters: number
  seq: number
  streams: Map<LogStream, Flow>
  progress: Omit<ProgressItem, 'l'> | undefined
  progressDueAt: number
}

interface Flow {
  /** Bytes written so far, those that were dropped included. */
  off: number
  /** Bytes dropped since the last piece. */
  dropped: number
  isCut: boolean
}

/** What running code says, on its way to the broker: behind everything else, within bounds, and dropped when it does not fit. */
export class OutputLane {
  readonly #options: OutputLaneOptions
  readonly #said = new Map<HeldRun, Said>()
  #characters = 0
  #takesLogs = false
  #takesProgress = false
  #limits = { log: Number.POSITIVE_INFINITY, checkpoint: Number.POSITIVE_INFINITY, frame: FRAME_CHARACTERS }
  #timer: NodeJS.Timeout | undefined
  #dueAt = Number.POSITIVE_INFINITY

  constructor(options: OutputLaneOptions) {
    this.#options = options
  }

  voiceOf(held: HeldRun): Voice {
    return new RunVoice(held, this)
  }

  extend(held: HeldRun, timeoutMs: number): Promise<number> {
    return this.#options.extend ? this.#options.extend(held, timeoutMs) : Promise.reject(new ExtendRefused(held.assignment, 'unsupported'))
  }

  get checkpointBytes(): number {
    return this.#limits.checkpoint
  }

  print(held: HeldRun, stream: LogStream, text: string): void {
    if (!this.#takesLogs || held.state === 'gone') return
    const said = this.#of(held)
    const flow = flowOf(said, stream)
    if (flow.isCut) return
    const clean = storable(text, text.length)
    const bytes = Buffer.byteLength(clean)
    if (said.characters > RUN_CHARACTERS || this.#characters > ALL_CHARACTERS) flow.dropped += bytes
    else if (flow.off + bytes <= this.#limits.log) this.#add(said, stream, flow, clean)
    else {
      flow.isCut = true
      this.#add(said, stream, flow, `${beginning(clean, this.#limits.log - flow.off)}\n[cut off after ${this.#limits.log} bytes]\n`)
    }
    flow.off += bytes
    this.#flushIn(FLUSH_MS)
  }

  /** Of each field the last word counts. */
  progress(held: HeldRun, { pct, note, data, checkpoint }: Progress): void {
    if (!this.#takesProgress || held.state === 'gone') return
    const said = this.#of(held)
    said.progress = {
      ...said.progress,
      ...(pct !== undefined && { pct }),
      ...(note !== undefined && { note: storable(note, 1_024) }),
      ...(data !== undefined && this.#fits(held, 'data', data) && { data }),
      ...(checkpoint !== undefined && this.#fits(held, 'checkpoint', checkpoint) && { checkpoint }),
    }
    this.#flushIn(Math.max(said.progressDueAt - this.#options.now(), 0))
  }

  /** Its code has ended: what it said goes out ahead of its result, or not at all where the line is congested. */
  finish(held: HeldRun): void {
    const said = this.#said.get(held)
    if (!said || !this.#options.link.isOpen) return
    if (this.#options.link.bufferedBytes > BUSY_BYTES) dropPieces(said)
    this.#sendAll([[held, said]], true)
    this.forget(held)
  }

  /** Its lease is over. */
  forget(held: HeldRun): void {
    const said = this.#said.get(held)
    if (!said) return
    this.#said.delete(held)
    this.#characters -= said.characters
  }

  /** What this broker takes; runs that ended meanwhile have their say before their results go out again. */
  welcomed({ caps, limits }: Welcome): void {
    this.#takesLogs = caps.includes('logs')
    this.#takesProgress = caps.includes('progress')
    this.#limits = { log: limits.log ?? Number.POSITIVE_INFINITY, checkpoint: limits.checkpoint ?? Number.POSITIVE_INFINITY, frame: Math.min(FRAME_CHARACTERS, limits.frame >> 3) }
    for (const held of [...this.#said.keys()]) if (held.state === 'done') this.finish(held)
    this.#flushIn(FLUSH_MS)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#said.clear()
  }

  #of(held: HeldRun): Said {
    const known = this.#said.get(held)
    if (known) return known
    const said: Said = { pieces: [], characters: 0, seq: 0, streams: new Map(), progress: undefined, progressDueAt: 0 }
    this.#said.set(held, said)
    return said
  }

  #fits(held: HeldRun, what: string, text: string): boolean {
    const bytes = Buffer.byteLength(text)
    if (bytes <= this.#limits.checkpoint) return true
    const message = `The ${what} of ${bytes} bytes was not kept: the broker's limit is ${this.#limits.checkpoint} (REPROQ_CHECKPOINT_BYTES). Store it elsewhere and keep where it is`
    this.#options.log.warn(message, { runId: held.assignment.run })
    this.print(held, 'log', `reproq: ${message}\n`)
    return false
  }

  /** Small writes share a piece. */
  #add(said: Said, stream: LogStream, flow: Flow, text: string): void {
    const last = said.pieces.at(-1)
    if (last?.stream === stream && flow.dropped === 0 && last.text.length + text.length <= this.#pieceCharacters) last.text += text
    else {
      let { off } = flow
      for (const part of partsOf(text, this.#pieceCharacters)) {
        said.pieces.push({ seq: ++said.seq, stream, off, text: part, ...(flow.dropped > 0 && { dropped: flow.dropped }) })
        flow.dropped = 0
        off += Buffer.byteLength(part)
      }
    }
    said.characters += text.length
    this.#characters += text.length
  }

  get #pieceCharacters(): number {
    return Math.min(LOG_TEXT, this.#limits.frame)
  }

  #flushIn(ms: number): void {
    const dueAt = this.#options.now() + ms
    if (dueAt >= this.#dueAt) return
    this.#dueAt = dueAt
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#dueAt = Number.POSITIVE_INFINITY
      this.#flush()
    }, ms)
  }

  #flush(): void {
    // A new link sets it going again.
    if (!this.#options.link.isOpen) return
    if (this.#options.link.bufferedBytes < BUSY_BYTES) this.#sendAll([...this.#said], false)
    const now = this.#options.now()
    let nextMs = Number.POSITIVE_INFINITY
    for (const { pieces, progress, progressDueAt } of this.#said.values()) {
      if (pieces.length > 0) nextMs = Math.min(nextMs, FLUSH_MS)
      if (progress) nextMs = Math.min(nextMs, Math.max(progressDueAt - now, 0))
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#flushIn(nextMs)
  }

  /** `isLast`: whatever is there, and at once. */
  #sendAll(runs: [HeldRun, Said][], isLast: boolean): void {
    const now = this.#options.now()
    const said: ProgressItem[] = []
    for (const [held, one] of runs) {
      if (!one.progress || (!isLast && one.progressDueAt > now)) continue
      said.push({ l: held.l, ...one.progress })
      one.progress = undefined
      one.progressDueAt = now + PROGRESS_EVERY_MS
    }
    // One a frame when they are large: a checkpoint may take a quarter of it.
    for (const items of framesOf(said, ({ data = '', checkpoint = '' }) => data.length + checkpoint.length, this.#limits.frame)) this.#send({ t: 'progress', items })

    const pieces = runs.flatMap(([held, one]) => one.pieces.map((piece): [Said, LogItem] => [one, { l: held.l, ...piece }]))
    for (const items of framesOf(pieces, ([, { text }]) => text.length, this.#limits.frame)) {
      if (!isLast && this.#options.link.bufferedBytes > BUSY_BYTES) return
      this.#send({ t: 'log', items: items.map(([, item]) => item) })
      for (const [one, { text }] of items) {
        one.pieces.shift()
        one.characters -= text.length
        this.#characters -= text.length
      }
    }
  }

  #send(frame: Extract<WorkerFrame, { t: 'log' | 'progress' }>): void {
    this.#options.link.send(JSON.stringify(frame))
  }
}

/** What an executor is given for one run. */
class RunVoice implements Voice {
  readonly #held: HeldRun
  readonly #lane: OutputLane

  constructor(held: HeldRun, lane: OutputLane) {
    this.#held = held
    this.#lane = lane
  }

  get checkpointBytes(): number {
    return this.#lane.checkpointBytes
  }

  print(stream: LogStream, text: string): void {
    this.#lane.print(this.#held, stream, text)
  }

  progress(progress: Progress): void {
    this.#lane.progress(this.#held, progress)
  }

  extend(timeoutMs: number): Promise<number> {
    return this.#lane.extend(this.#held, timeoutMs)
  }
}

function flowOf({ streams }: Said, stream: LogStream): Flow {
  const known = streams.get(stream)
  if (known) return known
  const flow = { off: 0, dropped: 0, isCut: false }
  streams.set(stream, flow)
  return flow
}

/** Nothing of it is sent, but that there was something. */
function dropPieces(said: Said): void {
  for (const stream of LOG_STREAMS) {
    const pieces = said.pieces.filter((piece) => piece.stream === stream)
    if (pieces.length > 0) flowOf(said, stream).dropped += pieces.reduce((sum, { text, dropped = 0 }) => sum + dropped + Buffer.byteLength(text), 0)
  }
  said.pieces = [...said.streams].flatMap(([stream, { off, dropped }]) => (dropped > 0 ? [{ seq: ++said.seq, stream, off, text: '', dropped }] : []))
}

/** Whole characters of the first `bytes`. */
function beginning(text: string, bytes: number): string {
  return new StringDecoder('utf8').write(Buffer.from(text).subarray(0, Math.max(bytes, 0)))
}

/** Cuts a text, never through a pair of surrogates. */
function* partsOf(text: string, most: number): Generator<string> {
  for (let from = 0; from < text.length; ) {
    let to = Math.min(from + most, text.length)
    if (to < text.length && (text.charCodeAt(to - 1) & 0xfc00) === 0xd800) to--
    yield text.slice(from, to)
    from = to
  }
}

function* framesOf<Item>(items: Item[], sizeOf: (item: Item) => number, most: number): Generator<Item[]> {
  let frame: Item[] = []
  let size = 0
  for (const item of items) {
    size += sizeOf(item)
    if (frame.length > 0 && (size > most || frame.length === FRAME_ITEMS)) {
      yield frame
      frame = []
      size = sizeOf(item)
    }
    frame.push(item)
  }
  if (frame.length > 0) yield frame
}
