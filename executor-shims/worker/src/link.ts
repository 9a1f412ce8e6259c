import type { RawData, WebSocket } from 'ws'
import { CLOSE_CODES, parseBrokerFrame, RETIRE, type BrokerFrame, type BrokerFrameOf, type WorkerFrameOf } from '../../../protocol/src/index.js'
import type { TaskLog } from '../../../sdk-ts/src/define-task.js'
import { BrokerUnreachable, InvalidOption, type ReproqError } from '../../../sdk-ts/src/errors.js'
import { dial, workerUrl, type Refusal } from './dial.js'
import { afterClose, afterRefusal, backoffMs, hurriedMs } from './reconnect.js'
import { Silence } from './silence.js'
import { WorkerRefused } from './worker-errors.js'

export type Welcome = BrokerFrameOf['welcome']
export type Greeting = Omit<WorkerFrameOf['hello'], 't' | 'resume'>

/** Whoever holds leases over a link. */
export interface LinkOwner {
  /** Asked at every connection: what to say hello with. */
  greeting(): Greeting
  welcomed(welcome: Welcome, helloSentAt: number, url: string): void
  received(frame: Exclude<BrokerFrame, { t: 'welcome' }>): void
  /** A link that was open is gone. Another attempt follows, unless `failed` does. */
  dropped(at: number, reason: string): void
  /** It is over: no attempt follows. */
  failed(error: ReproqError): void
}

export interface LinkOptions {
  urls: readonly string[]
  token?: string | undefined
  /** Keep trying when the first connection does not come about. */
  retry: boolean
  log: TaskLog
  /** Milliseconds, monotonic. */
  now: () => number
}

type Phase = 'idle' | 'waiting' | 'dialing' | 'greeting' | 'open' | 'closing' | 'over'

const WELCOME_MS = 10_000
const CLOSE_MS = 2_000
/** A link that lived this long was no accident: the next backoff starts from the beginning. */
const PROVEN_MS = 1_000
/** Silence of so many heartbeats means that nobody is there. */
const SILENT_BEATS = 2.5
/** This broker is going away: another one first. */
const LEAVING_CODES: ReadonlySet<number> = new Set([CLOSE_CODES.going_away.code, CLOSE_CODES.broker_draining.code])

/** One WebSocket to one of several brokers, again and again. The session outlives its sockets. */
export class Link {
  readonly #owner: LinkOwner
  readonly #options: LinkOptions
  readonly #urls: URL[]
  readonly #silence = new Silence((ms) => this.#silent(ms))
  #phase: Phase = 'idle'
  #socket: WebSocket | undefined
  #timer: NodeJS.Timeout | undefined
  #at: number
  #attempt = 0
  #helloSentAt = 0
  #openedAt = 0
  /** How long the broker keeps the leases of a dropped link, and until when that is, since the last one. */
  #reconnectMs = 0
  #keptUntil = 0
  #resume: { session: string; key: string } | undefined
  /** What the broker said before it closed: an `error` frame knows more than a close code. */
  #lastError: BrokerFrameOf['error'] | undefined
  #brokerDrains = false
  #left: (() => void) | undefined

  /** Throws InvalidOption for a URL that is none. */
  constructor(owner: LinkOwner, options: LinkOptions) {
    if (options.urls.length === 0) throw new InvalidOption('A worker needs the URL of a broker', 'pass url, for example http://127.0.0.1:4700')
    this.#owner = owner
    this.#options = options
    this.#urls = options.urls.map(workerUrl)
    // Workers that know several brokers spread over them.
    this.#at = Math.floor(Math.random() * this.#urls.length)
  }

  get isOpen(): boolean {
    return this.#phase === 'open'
  }

  /** Bytes handed over and not yet with the kernel. */
  get bufferedBytes(): number {
    return this.#socket?.bufferedAmount ?? 0
  }

  start(): void {
    if (this.#phase === 'idle') this.#dial()
  }

  /** Sends one frame; false when no link is open. `flushed` is called when it has left the process, or the link is gone. */
  send(text: string, flushed?: () => void): boolean {
    if (this.#phase !== 'open' || !this.#socket) return false
    this.#socket.send(text, flushed)
    return true
  }

  /** After `bye`: waits until the broker has closed, at most `ms`. Without an open link it is over at once. */
  async leave(ms: number): Promise<void> {
    if (this.#phase === 'over') return
    const isOpen = this.#phase === 'open'
    const left = new Promise<void>((resolve) => (this.#left = resolve))
    clearTimeout(this.#timer)
    if (isOpen) this.#timer = setTimeout(() => this.#socket?.terminate(), ms)
    else this.#end()
    await left
  }

  // ── one connection ──

  get #url(): string {
    return this.#options.urls[this.#at] as string
  }

  #dial() {
    this.#phase = 'dialing'
    const socket = dial(this.#urls[this.#at] as URL, this.#options.token, {
      opened: () => this.#greet(socket),
      refused: (refusal) => this.#refused(refusal),
    })
    this.#socket = socket
  }

  #greet(socket: WebSocket) {
    if (this.#phase === 'over') return socket.terminate()
    this.#phase = 'greeting'
    this.#lastError = undefined
    this.#brokerDrains = false
    socket.on('message', (data, isBinary) => this.#read(data, isBinary))
    socket.on('ping', () => this.#silence.heard())
    socket.on('close', (code, reason) => this.#closed(code, reason.toString()))
    this.#silence.limit(WELCOME_MS)
    this.#helloSentAt = this.#options.now()
    const hello: WorkerFrameOf['hello'] = { t: 'hello', ...this.#owner.greeting(), ...(this.#resume && { resume: this.#resume }) }
    socket.send(JSON.stringify(hello))
  }

  #read(data: RawData, isBinary: boolean) {
    this.#silence.heard()
    if (this.#phase !== 'greeting' && this.#phase !== 'open') return
    if (isBinary) return this.#options.log.warn('The broker sent a binary frame, which has no meaning')
    const parsed = parseBrokerFrame(data.toString())
    if (parsed.ok) return this.#handle(parsed.frame)
    if (!parsed.fatal) return this.#options.log.debug('A frame of a newer broker is ignored', { reason: parsed.message })
    // Had it carried runs, nobody would ever answer for them: a new link sorts that out.
    this.#options.log.error('The broker broke the protocol', { reason: parsed.message })
    this.#hangUp(4400, 'protocol_violation')
  }

  #handle(frame: BrokerFrame) {
    if (frame.t === 'welcome') return this.#welcomed(frame)
    if (frame.t === 'error') this.#complaint(frame)
    if (this.#phase !== 'open') return
    // One that is to leave has no other broker to go to.
    if (frame.t === 'drain' && frame.reason !== RETIRE) this.#moveOn(frame)
    this.#owner.received(frame)
  }

  #welcomed(welcome: Welcome) {
    if (this.#phase !== 'greeting') return
    this.#phase = 'open'
    this.#openedAt = this.#options.now()
    this.#reconnectMs = welcome.reconnect_ms
    this.#resume = { session: welcome.session, key: welcome.key }
    this.#silence.limit(welcome.hb_ms * SILENT_BEATS)
    this.#owner.welcomed(welcome, this.#helloSentAt, this.#url)
  }

  #complaint(frame: BrokerFrameOf['error']) {
    this.#lastError = frame
    this.#options.log[frame.fatal ? 'warn' : 'error'](`The broker reports ${frame.code}: ${frame.message}`)
  }

  #silent(ms: number) {
    this.#options.log.warn('Nothing was heard from the broker; the connection is taken for dead', { silentMs: ms })
    this.#socket?.terminate()
  }

  /** With another broker to go to there is no need to wait for the end of this one; results resume there. */
  #moveOn({ reconnect_ms }: BrokerFrameOf['drain']) {
    this.#brokerDrains = true
    if (this.#urls.length === 1) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#hangUp(1001, 'moving on'), Math.random() * reconnect_ms)
  }

  #hangUp(code: number, reason: string) {
    if (this.#phase === 'open') this.#drop(reason)
    else this.#phase = 'closing'
    this.#socket?.close(code, reason)
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#socket?.terminate(), CLOSE_MS)
  }

  // ── between two connections ──

  #closed(code: number, reason: string) {
    if (this.#phase === 'over') return
    clearTimeout(this.#timer)
    this.#silence.end()
    const why = this.#lastError?.message ?? `closed with ${code}${reason && ` ${reason}`}`
    if (this.#phase === 'open') this.#drop(why)
    if (this.#left) return this.#end()
    if (afterClose(code) === 'never') return this.#fail(new WorkerRefused(this.#url, why, { closeCode: code }))
    if (this.#isLastChance) return this.#fail(this.#unreachable(new Error(why)))
    if (this.#brokerDrains || LEAVING_CODES.has(code)) this.#nextUrl()
    this.#again(this.#lastError?.retry_after_ms ?? 0)
  }

  #drop(reason: string) {
    this.#phase = 'closing'
    const now = this.#options.now()
    if (now - this.#openedAt >= PROVEN_MS) this.#attempt = 0
    this.#keptUntil = now + this.#reconnectMs
    this.#owner.dropped(now, reason)
  }

  #refused({ status, message, retryAfterMs, cause }: Refusal) {
    if (this.#phase === 'over') return
    if (afterRefusal(status, this.#everWelcomed) === 'never') return this.#fail(new WorkerRefused(this.#url, message, { status }))
    if (this.#isLastChance) return this.#fail(this.#unreachable(cause ?? new Error(message)))
    this.#options.log.warn(`No connection to the broker at ${this.#url}: ${message}`, { attempt: this.#attempt + 1 })
    this.#nextUrl()
    this.#again(retryAfterMs)
  }

  get #everWelcomed(): boolean {
    return this.#resume !== undefined
  }

  get #isLastChance(): boolean {
    return !this.#options.retry && !this.#everWelcomed
  }

  #unreachable(cause: unknown): BrokerUnreachable {
    return new BrokerUnreachable(this.#url, 'Start the broker, or correct the URL', cause)
  }

  #nextUrl() {
    this.#at = (this.#at + 1) % this.#urls.length
  }

  /** `now` and `backoff` are one rule: a link that had proven itself is followed by the shortest wait, a little random. */
  #again(atLeastMs: number) {
    this.#phase = 'waiting'
    const longestMs = this.#options.now() < this.#keptUntil ? hurriedMs(this.#reconnectMs) : undefined
    this.#timer = setTimeout(() => this.#dial(), atLeastMs + backoffMs(this.#attempt++, longestMs))
  }

  #fail(error: ReproqError) {
    this.#end()
    this.#owner.failed(error)
  }

  #end() {
    this.#phase = 'over'
    clearTimeout(this.#timer)
    this.#silence.end()
    this.#socket?.terminate()
    this.#left?.()
  }
}
