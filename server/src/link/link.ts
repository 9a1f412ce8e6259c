import { CLOSE_CODES, parseWorkerFrame, RETIRE, type BrokerFrame, type CloseName, type ErrorCode, type LeasedRun, type WorkerFrameOf } from '../../../protocol/src/index.js'
import type { FreeLane, Taker } from '../engine/dispatch.js'
import type { Leased } from '../runs/lease.js'
import type { Session } from '../sessions/sessions.js'
import { handlers } from './frames.js'
import { Ledger, type Entry } from './ledger.js'
import { isLegal, type Phase } from './phase.js'
import type { LinkContext } from './context.js'

/** All that a link knows of a WebSocket. */
export interface Socket {
  send(text: string): void
  close(code: number, reason: string): void
  /** Bytes handed over and not yet sent. */
  readonly bufferedAmount: number
}

const SLOW_BYTES = 1_048_576
const FAST_BYTES = 262_144
const SLOW_MS = 10_000
/** What an item of a `runs` frame takes besides its payloads. */
const ITEM_BYTES = 2_048

/** One live WebSocket of a worker, broker side: phases, what it holds, what may be sent. A session outlives its links. */
export class Link implements Taker {
  readonly context: LinkContext
  /** Whether the token lets it work on that queue. */
  readonly allows: (queue: string) => boolean
  /** Hash of the token it came with: the secret is kept nowhere. */
  readonly tokenHash: string
  readonly #socket: Socket
  #phase: Phase = 'greeting'
  #session: Session | undefined
  #ledger: Ledger | undefined
  #greetedAt: number
  #heardAt: number
  #slowSince: number | undefined
  readonly #pending = new Set<Promise<unknown>>()

  constructor(socket: Socket, allows: (queue: string) => boolean, context: LinkContext, tokenHash = '') {
    this.#socket = socket
    this.allows = allows
    this.tokenHash = tokenHash
    this.context = context
    this.#greetedAt = this.#heardAt = context.now()
  }

  get phase(): Phase {
    return this.#phase
  }
  get sessionId(): string {
    return this.session.sessionId
  }
  get workerId(): string {
    return this.session.workerId
  }
  /** Only legal once the link is open. */
  get session(): Session {
    if (!this.#session) throw new Error('The link has no session yet')
    return this.#session
  }
  get ledger(): Ledger {
    if (!this.#ledger) throw new Error('The link has no session yet')
    return this.#ledger
  }
  get hasSession(): boolean {
    return this.#session !== undefined
  }

  // ── what the socket says ──

  /** A text message of so many bytes arrived. Never throws. */
  async receive(text: string, bytes: number): Promise<void> {
    this.#heardAt = this.context.now()
    if (this.#phase === 'closed') return
    const { frameBytes } = this.context.config
    if (bytes > frameBytes) return this.fail('frame_too_large', 'frame_too_large', `A frame of ${bytes} bytes; the limit is ${frameBytes}`)
    const parsed = parseWorkerFrame(text)
    if (!parsed.ok) return parsed.fatal ? this.fail('protocol_violation', parsed.code, parsed.message) : this.complain(parsed.code, parsed.message)
    const { frame } = parsed
    if (!isLegal(this.#phase, frame.t)) return this.fail('protocol_violation', 'wrong_phase', `Frame "${frame.t}" while the connection is ${this.#phase}`)
    try {
      const handler = handlers[frame.t] as (link: Link, frame: WorkerFrameOf[keyof WorkerFrameOf]) => Promise<void> | void
      await handler(this, frame)
    } catch (error) {
      this.context.log.error({ err: error, frame: frame.t }, 'a frame could not be handled')
      this.fail('internal', 'internal', 'The broker failed to handle the frame; its log says why')
    }
  }

  receiveBinary(): void {
    this.fail('protocol_violation', 'binary_frame', 'Frames are text: one JSON object each')
  }

  /** A ping or pong of the WebSocket arrived. */
  heard(): void {
    this.#heardAt = this.context.now()
  }

  /**
   * The socket is gone, for whatever reason: what it held waits for the worker to return. Also what it has not accepted,
   * for it may have started and its word got lost.
   */
  async closed(code: number): Promise<void> {
    if (this.#phase === 'closed') return
    const left = this.#phase
    this.#phase = 'closed'
    this.context.links.remove(this)
    if (this.#session) this.context.dispatch.unregister(this)
    this.context.events.emit('link.closed', { workerId: this.#session?.workerId, code: String(code) })
    if (!this.#session || left === 'leaving') return
    const { db, config, sessions, log } = this.context
    // The session's own expiry covers what could not be written now.
    await sessions.shorten(db, this.#session, config.reconnectMs).catch((error: unknown) => log.warn({ err: error, workerId: this.workerId }, 'a dropped worker could not be recorded'))
  }

  // ── what the engine says ──

  freeLanes(): FreeLane[] {
    if (this.#phase !== 'open' || this.#isSlow()) return []
    return this.ledger.freeLanes()
  }

  deliver(runs: Leased[]): boolean {
    if (this.#phase !== 'open') return false
    const fit: Entry[] = []
    const items: LeasedRun[] = []
    for (const run of runs) {
      const entry = this.ledger.add({ run: run.run, lease: run.lease, queue: run.queue, task: run.task, attempt: run.attempt, maxAttempts: run.maxAttempts, retry: run.retry, crashes: run.crashes, state: 'sent' })
      if (this.context.settleUndeliverable(entry, run, () => this.#settledAside(entry))) continue
      fit.push(entry)
      const item: LeasedRun = {
        l: entry.l,
        lease: run.lease,
        run: run.run,
        task: run.task,
        queue: run.queue,
        attempt: run.attempt,
        max_attempts: run.maxAttempts,
        timeout_ms: run.timeoutMs,
        cancel_grace_ms: this.context.config.cancelGraceMs,
        spec: run.spec,
      }
      if (run.parents !== null) Object.assign(item, parentsOf(run.spec, run.parents, this.context.config.frameBytes))
      // One that does not fit beside a spec of today's size is not worth the run.
      if (run.checkpoint !== null && 2 * Buffer.byteLength(run.spec + (item.parents ?? '') + run.checkpoint) < this.context.config.frameBytes - 2_048) item.checkpoint = run.checkpoint
      // After the second time whatever runs beside it is under suspicion as well, and its next crash is its last.
      if (run.crashes !== null) item.alone = run.crashes > 1 ? 'worker' : 'process'
      items.push(item)
    }
    for (const batch of inFrames(items, this.context.config.frameBytes)) this.send({ t: 'runs', items: batch })
    return true
  }

  /** Somebody asked to stop a run this link holds. Said again with every heartbeat until it is answered. */
  cancel(entry: Entry, mode: 'soft' | 'hard', reason: string): void {
    if (entry.cancel?.mode === mode) return
    if (reason === 'cancelled') entry.cancelRequested = true
    entry.cancel = { mode, reason, grace_ms: this.context.config.cancelGraceMs }
    this.send({ t: 'cancel', items: [{ l: entry.l, ...entry.cancel }] })
  }

  /** The broker is going down: no more leases, results still taken. */
  drain(): void {
    if (this.#phase !== 'open' && this.#phase !== 'draining') return
    this.ledger.closeLanes()
    this.send({ t: 'drain', reason: 'shutdown', grace_ms: this.context.config.drainMs, reconnect_ms: this.context.config.reconnectMs })
  }

  /** Somebody wants this worker gone: no more leases, and it leaves by itself. Without a grace it gives back what runs. */
  retire(graceMs: number): void {
    if (this.#phase !== 'open' && this.#phase !== 'draining') return
    this.ledger.closeLanes()
    this.send({ t: 'drain', reason: RETIRE, grace_ms: graceMs, reconnect_ms: this.context.config.reconnectMs })
  }

  /** Ends the link after the grace; the session keeps its whole lease, so that its work goes on until the worker finds a broker. */
  dismiss(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'leaving'
    this.fail('broker_draining', 'broker_draining', 'The broker is shutting down')
  }

  /** Its token was revoked or has expired. What it holds stays its own for the reconnect window: a token may be rotating. */
  expire(): void {
    if (this.#phase !== 'closed') this.fail('unauthorized', 'token_expired', 'The token was revoked or has expired')
  }

  /** A newer connection speaks for the session. */
  supersede(): void {
    this.#phase = 'leaving'
    this.fail('superseded', 'superseded', 'Another connection has taken over this session')
  }

  /** Looks at the clock: silence, a slow reader. Called now and then for every link. */
  check(now: number): void {
    const { config } = this.context
    if (this.#phase === 'greeting' && now - this.#greetedAt > config.helloMs) return this.fail('hello_timeout', 'hello_timeout', `No hello within ${config.helloMs} ms`)
    if (now - this.#heardAt > 2.5 * config.heartbeatMs && this.hasSession) {
      return this.fail('heartbeat_timeout', 'heartbeat_timeout', `Nothing heard for ${Math.round(now - this.#heardAt)} ms`)
    }
    if (this.#isSlow()) {
      this.#slowSince ??= now
      if (now - this.#slowSince > SLOW_MS) this.fail('slow_consumer', 'slow_consumer', `${this.#socket.bufferedAmount} bytes wait unread`)
    } else if (this.#slowSince !== undefined) {
      this.#slowSince = undefined
      this.context.dispatch.freed()
    }
  }

  /** The broker's own clock stood still (suspended, overloaded): that is no silence of the worker. */
  forgive(now: number): void {
    this.#greetedAt = this.#heardAt = now
  }

  // ── for the frame handlers ──

  /** Leaves the greeting; nothing else may come until the welcome. */
  opening(): void {
    this.#phase = 'opening'
  }

  /** Open for runs, under this session. */
  opened(session: Session): void {
    this.#session = session
    this.#ledger = new Ledger(session.workerId, this.context.config.maxWindow)
  }

  ready(): void {
    this.#phase = 'open'
    this.context.links.add(this)
    this.context.dispatch.register(this)
    // It was upgraded before the broker began to drain, or says hello in between.
    if (this.context.links.draining) this.drain()
  }

  draining(): void {
    if (this.#phase === 'open') this.#phase = 'draining'
    this.ledger.closeLanes()
  }

  /** After goodbye: everything that is being stored first, then the rest. */
  async leaving(): Promise<void> {
    this.#phase = 'leaving'
    this.context.dispatch.unregister(this)
    await Promise.allSettled(this.#pending)
  }

  /** Work on the database that must be over before the link may say goodbye. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#pending.add(work)
    return work.finally(() => this.#pending.delete(work))
  }

  send(frame: BrokerFrame): void {
    if (this.#phase !== 'closed') this.#socket.send(JSON.stringify(frame))
  }

  /** Says what was wrong with a frame; the connection goes on. */
  complain(code: ErrorCode, message: string): void {
    this.send({ t: 'error', code, fatal: false, retry: 'never', message })
  }

  /** Says why, then ends the connection. */
  fail(close: CloseName, code: ErrorCode, message: string): void {
    const { code: closeCode, reconnect } = CLOSE_CODES[close]
    this.send({ t: 'error', code, fatal: true, retry: reconnect, message })
    this.finish(closeCode, code)
  }

  finish(code: number, reason: string): void {
    this.#socket.close(code, reason)
    void this.closed(code)
  }

  #settledAside(entry: Entry) {
    this.#ledger?.remove(entry)
    this.context.dispatch.freed()
  }

  #isSlow(): boolean {
    return this.#socket.bufferedAmount > (this.#slowSince === undefined ? SLOW_BYTES : FAST_BYTES)
  }
}

/** What an item says of the run's parents: their outcomes, or why they are not in it. */
function parentsOf(spec: string, parents: string, frameBytes: number): Pick<LeasedRun, 'parents' | 'parents_error'> {
  if (!parents.startsWith('{')) return { parents_error: parents }
  const bytes = Buffer.byteLength(JSON.stringify(spec)) + Buffer.byteLength(JSON.stringify(parents)) + ITEM_BYTES
  if (bytes > frameBytes) return { parents_error: `With the results of its parents the run takes ${bytes} bytes on its way to a worker; the limit is ${frameBytes} (REPROQ_FRAME_BYTES)` }
  return { parents }
}

/** Cuts runs into frames the socket takes. Text inside JSON text at most doubles, and the rest of an item is small. */
function inFrames(items: LeasedRun[], frameBytes: number): LeasedRun[][] {
  const frames: LeasedRun[][] = []
  let batch: LeasedRun[] = []
  let bytes = 0
  for (const item of items) {
    const size = 2 * (item.spec.length + (item.parents?.length ?? 0) + (item.checkpoint?.length ?? 0)) + 1_024
    if (batch.length > 0 && (bytes + size > frameBytes || batch.length === 500)) {
      frames.push(batch)
      batch = []
      bytes = 0
    }
    batch.push(item)
    bytes += size
  }
  if (batch.length > 0) frames.push(batch)
  return frames
}

