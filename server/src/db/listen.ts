import pgListen, { type Subscriber } from 'pg-listen'
import type { Logger } from 'pino'

export interface Hints {
  /** A queue has ready runs; undefined: any queue may. */
  ready(queue: string | undefined): void
  /** A run was scheduled, perhaps earlier than every other. */
  scheduled(): void
  /** Somebody wants this run stopped. */
  cancel(run: string): void
  /** (Re)connected: whatever was said meanwhile is lost, so everything must be looked at once. */
  connected(): void
}

// pg-listen is CommonJS whose export is called default.
const createSubscriber = pgListen.default
const CHANNELS = ['reproq_ready', 'reproq_scheduled', 'reproq_cancel', 'reproq_ping'] as const
const PING_MS = 5_000

/**
 * The one connection that listens. A notification is a hint: losing one costs latency, never a run. The connection is
 * trusted only as long as it hears what we say ourselves (`check`): one that is half open, or sits behind a transaction
 * pooler, looks alive and hears nothing.
 */
export class Listen {
  readonly #url: string
  readonly #hints: Hints
  readonly #log: Logger
  readonly #notify: (channel: string, payload: string) => Promise<void>
  #subscriber: Subscriber | undefined
  #heard: (() => void) | undefined
  #connected = false
  #stopped = false

  constructor(url: string, notify: (channel: string, payload: string) => Promise<void>, hints: Hints, log: Logger) {
    this.#url = url
    this.#notify = notify
    this.#hints = hints
    this.#log = log
  }

  /** Whether hints are arriving, as far as is known. */
  get connected(): boolean {
    return this.#connected
  }

  /** Resolves when listening. Rejects when the database cannot be reached now; afterwards it reconnects by itself, for ever. */
  async start(): Promise<void> {
    const subscriber = createSubscriber<Record<string, string | undefined>>(
      { connectionString: this.#url, application_name: 'reproq listener', connectionTimeoutMillis: 5_000 },
      // retryTimeout 0: never give up. Checking is ours, because pg-listen's waits for ever on a half-open socket.
      { retryInterval: (attempt) => Math.min(100 * 2 ** attempt, 2_000), retryTimeout: 0, paranoidChecking: false, parse: (text) => text },
    )
    this.#subscriber = subscriber
    subscriber.notifications.on('reproq_ready', (queue) => this.#hints.ready(queue))
    subscriber.notifications.on('reproq_scheduled', () => this.#hints.scheduled())
    subscriber.notifications.on('reproq_cancel', (run) => run && this.#hints.cancel(run))
    subscriber.notifications.on('reproq_ping', () => this.#heard?.())
    subscriber.events.on('error', (error) => this.#log.warn({ err: error }, 'the listening connection failed'))
    subscriber.events.on('reconnect', (attempt) => {
      this.#connected = false
      if (attempt === 1) this.#log.warn('the listening connection was lost; reconnecting')
    })
    await subscriber.connect()
    for (const channel of CHANNELS) await subscriber.listenTo(channel)
    subscriber.events.on('connected', () => this.#isConnected())
    this.#isConnected()
  }

  /** Says something to itself; when it does not hear it in time, it starts anew. */
  async check(): Promise<void> {
    if (!this.#connected) return
    const subscriber = this.#subscriber
    const hearing = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), PING_MS).unref()
      this.#heard = () => {
        clearTimeout(timer)
        resolve(true)
      }
    })
    await this.#notify('reproq_ping', '')
    const heard = await hearing
    if (heard || this.#stopped || subscriber !== this.#subscriber) return
    this.#log.warn('the listening connection hears nothing (half open, or behind a transaction pooler?); connecting anew')
    this.#connected = false
    this.#abandon()
    await this.start()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#connected = false
    await this.#subscriber?.close()
  }

  #isConnected() {
    this.#connected = true
    this.#hints.connected()
  }

  /** Closing waits for an answer that a half-open socket never gives, so nobody waits for it. */
  #abandon() {
    for (const channel of CHANNELS) this.#subscriber?.notifications.removeAllListeners(channel)
    this.#subscriber?.events.removeAllListeners('connected')
    this.#subscriber?.close().catch((error: unknown) => this.#log.debug({ err: error }, 'the old listening connection did not close cleanly'))
  }
}
