import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from 'pino'

export interface Hints {
  /** A queue has ready runs; undefined: any queue may. */
  ready(queue: string | undefined): void
  /** A run was scheduled, perhaps earlier than every other. */
  scheduled(): void
  /** A run expires earlier than every other. */
  expiring(): void
  /** Keys or limits that runs wait for may have room. */
  freed(): void
  /** Schedules, or who fires them, have changed. */
  schedules(): void
  /** Somebody wants this run stopped. */
  cancel(run: string): void
  /** An enqueue of an equal run has ended this one, which had expired. */
  expired(run: string): void
  /** A run of a workflow came, went, ended or began anew. */
  workflow(): void
  /** Somebody wants a worker to leave. */
  retire(worker: string, how: 'drain' | 'stop'): void
  /** Another broker of this database is alive. */
  peer(brokerId: string): void
  /** (Re)connected: whatever was said meanwhile is lost, so everything must be looked at once. */
  connected(): void
}

const CHANNELS = ['reproq_ready', 'reproq_scheduled', 'reproq_expiring', 'reproq_freed', 'reproq_schedules', 'reproq_cancel', 'reproq_expired', 'reproq_retire', 'reproq_workflow', 'reproq_ping'] as const
const LISTEN = CHANNELS.map((channel) => `LISTEN ${channel}`).join('; ')
const CONNECT_MS = 5_000
const PING_MS = 5_000
const CLOSE_MS = 1_000
const FIRST_AGAIN_MS = 100
const LAST_AGAIN_MS = 2_000

/**
 * The one connection that listens. A notification is a hint: losing one costs latency, never a run. The connection is
 * trusted only as long as it hears what we say ourselves (`check`): one that is half open, or sits behind a transaction
 * pooler, looks alive and hears nothing. However it is lost, at whatever moment, it is made anew, for ever. (pg-listen 1.7 does
 * not: its check waits for ever on a half-open socket, it gives up when a new connection breaks before it listens again,
 * and `close` does not end its reconnecting.)
 */
export class Listen {
  readonly #url: string
  readonly #brokerId: string
  readonly #hints: Hints
  readonly #log: Logger
  readonly #notify: (channel: string, payload: string) => Promise<void>
  #client: pg.Client | undefined
  #socket: Socket | undefined
  #heard: (() => void) | undefined
  #connected = false
  #stopped = false

  constructor(url: string, brokerId: string, notify: (channel: string, payload: string) => Promise<void>, hints: Hints, log: Logger) {
    this.#url = url
    this.#brokerId = brokerId
    this.#notify = notify
    this.#hints = hints
    this.#log = log
  }

  /** Whether hints are arriving, as far as is known. */
  get connected(): boolean {
    return this.#connected
  }

  /** Resolves when listening. Rejects when the database cannot be reached now; afterwards it reconnects by itself. */
  async start(): Promise<void> {
    await this.#connect()
  }

  /** Says something to itself, which also tells other brokers of this one; when it does not hear it in time, it starts anew. */
  async check(): Promise<void> {
    if (!this.#connected) return
    const socket = this.#socket
    const hearing = new Promise<true>((resolve) => (this.#heard = () => resolve(true)))
    await this.#notify('reproq_ping', this.#brokerId)
    if (await Promise.race([hearing, sleep(PING_MS, false, { ref: false })])) return
    if (this.#stopped || socket !== this.#socket) return
    this.#log.warn('the listening connection hears nothing (half open, or behind a transaction pooler?); connecting anew')
    // Not `end`: that would wait for an answer, which a half-open connection never gives.
    socket?.destroy()
  }

  /** Tells other brokers of this one. */
  greet(): void {
    this.#notify('reproq_ping', this.#brokerId).catch((error: unknown) => this.#log.debug({ err: error }, 'other brokers could not be greeted; the next check does'))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#connected = false
    await Promise.race([this.#client?.end(), sleep(CLOSE_MS, undefined, { ref: false })])
    this.#socket?.destroy()
  }

  async #connect(): Promise<void> {
    const socket = new Socket()
    const client = new pg.Client({ connectionString: this.#url, application_name: 'reproq listener', connectionTimeoutMillis: CONNECT_MS, query_timeout: CONNECT_MS, keepAlive: true, stream: () => socket })
    client.on('notification', ({ channel, payload }) => this.#notified(channel, payload))
    // Every error is followed by the end.
    client.on('error', (error) => this.#log.debug({ err: error }, 'the listening connection failed'))
    try {
      await client.connect()
      await client.query(LISTEN)
    } catch (error) {
      socket.destroy()
      throw error
    }
    client.once('end', () => void this.#lost())
    this.#client = client
    this.#socket = socket
    if (this.#stopped) return this.stop()
    this.#connected = true
    this.#hints.connected()
  }

  async #lost(): Promise<void> {
    this.#connected = false
    if (this.#stopped) return
    this.#log.warn('the listening connection was lost; connecting anew')
    for (let attempt = 0; !this.#stopped; attempt++) {
      try {
        return await this.#connect()
      } catch (error) {
        this.#log[attempt === 0 ? 'warn' : 'debug']({ err: error }, 'the listening connection could not be made; it will be tried again')
      }
      await sleep(Math.min(FIRST_AGAIN_MS * 2 ** attempt, LAST_AGAIN_MS), undefined, { ref: false })
    }
  }

  #notified(channel: string, payload: string | undefined) {
    switch (channel) {
      case 'reproq_ready':
        return this.#hints.ready(payload || undefined)
      case 'reproq_scheduled':
        return this.#hints.scheduled()
      case 'reproq_expiring':
        return this.#hints.expiring()
      case 'reproq_freed':
        return this.#hints.freed()
      case 'reproq_schedules':
        return this.#hints.schedules()
      case 'reproq_cancel':
        return payload ? this.#hints.cancel(payload) : undefined
      case 'reproq_expired':
        return payload ? this.#hints.expired(payload) : undefined
      case 'reproq_workflow':
        return this.#hints.workflow()
      case 'reproq_retire': {
        const [, how, worker] = /^(drain|stop) (.+)$/s.exec(payload ?? '') ?? []
        return worker === undefined ? undefined : this.#hints.retire(worker, how as 'drain' | 'stop')
      }
      case 'reproq_ping':
        return payload === this.#brokerId ? this.#heard?.() : payload ? this.#hints.peer(payload) : undefined
    }
  }
}
