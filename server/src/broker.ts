import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { pino, type Logger } from 'pino'
import type { Config } from './config.js'
import { Listen } from './db/listen.js'
import { Pool } from './db/pool.js'
import { statement } from './db/statement.js'
import { chores, releaseStray, type ChoreContext, type Holdings } from './engine/chores.js'
import { Dispatch } from './engine/dispatch.js'
import { duesOf, lookAround, type Dues } from './engine/dues.js'
import { announceExpired } from './engine/expiry.js'
import { GroupCommit } from './engine/group-commit.js'
import { Ingest } from './engine/ingest.js'
import { LogLinks } from './engine/log-links.js'
import { runLoop } from './engine/loop.js'
import { Output } from './engine/output.js'
import { Peers } from './engine/peers.js'
import { Progress } from './engine/progress.js'
import { Scheduler } from './engine/scheduler.js'
import { retention } from './engine/retention.js'
import { Settle } from './engine/settle.js'
import { vacuum } from './engine/vacuum.js'
import { Waiters } from './engine/waiters.js'
import { BrokerError } from './errors.js'
import { Events } from './events.js'
import { buildApp } from './http/app.js'
import { endWithToken } from './http/end-with-token.js'
import type { App } from './http/typed-app.js'
import { Streams } from './http/streams.js'
import { Tokens } from './http/tokens.js'
import { checkLinks } from './link/check-links.js'
import type { LinkContext } from './link/context.js'
import { Links } from './link/links.js'
import { cancelWhereHeld, holdingsOf, settleUndeliverable } from './link/holdings.js'
import { cancel } from './runs/cancel.js'
import { setRunLimits } from './runs/run-limit.js'
import * as sessions from './sessions/sessions.js'

const notifySql = statement<[string, string], unknown>(import.meta.url, 'db/notify.sql')
/** A list that takes longer is refused: its client would not wait either. */
const READ_MS = 5_000
/** How long answers on their way may take once the broker has drained. */
const CLOSE_MS = 5_000
/** How long a worker that is drained may go on; its own limit is the shorter one. */
const RETIRE_MS = 86_400_000
/** Every look says that this broker lives; this many may be missed. */
const PEER_LOOKS = 3

/** The broker, wired: owns the database, leases runs to workers, answers producers. `start`, then `stop`. */
export class Broker {
  readonly config: Config
  readonly events = new Events()
  readonly log: Logger
  readonly #pool: Pool
  /** What producers look at: a slow list takes no connection from heartbeats and results. */
  readonly #reads: Pool
  readonly #tokens: Tokens
  readonly #listen: Listen
  readonly #links = new Links()
  readonly #settle: Settle
  readonly #logLinks: LogLinks
  readonly #output: Output
  readonly #progress = new Progress(this.events)
  readonly #dispatch: Dispatch
  readonly #scheduler: Scheduler
  readonly #dues: Dues
  readonly #waiters: Waiters
  readonly #peers: Peers
  readonly #holdings: Holdings
  readonly #context: LinkContext
  readonly #abort = new AbortController()
  readonly #streams = new Streams(this.#abort.signal)
  #app: App | undefined
  #stopping: Promise<void> | undefined
  #strayed = false
  #url = ''

  constructor(config: Config, log: Logger = pino({ level: config.logLevel, serializers: { err: pino.stdSerializers.errWithCause } }, pino.destination(2))) {
    this.config = config
    this.log = log
    // Every chore's loop listens.
    setMaxListeners(0, this.#abort.signal)
    const warn = (message: string) => (error: unknown) => log.warn({ err: error }, message)
    this.#pool = new Pool(config.databaseUrl, config.poolSize)
    this.#reads = new Pool(config.databaseUrl, config.readPoolSize, { name: 'reproq reads', statementMs: READ_MS })
    this.#tokens = new Tokens(this.#pool)
    this.#settle = new Settle(this.#pool, this.events, {
      retry: { baseMs: config.retryBaseMs, capMs: config.retryCapMs, jitter: config.retryJitter, quarantineCrashes: config.quarantineCrashes },
      outputBytes: config.outputBytes,
    })
    this.#logLinks = new LogLinks(this.#reads, { areSigned: config.logLinks === 'on', baseUrl: () => (config.publicUrl || this.#url).replace(/\/$/, '') })
    this.#output = new Output(this.#pool, this.events, { links: this.#logLinks, onError: warn('output of a run could not be stored') })
    this.#dispatch = new Dispatch(this.#pool, this.events, {
      leaseMs: config.leaseMs,
      parentsBytes: config.parentsBytes,
      onError: (error, uncertain) => {
        this.#strayed ||= uncertain
        log.warn({ err: error }, 'leasing failed; it will be tried again')
      },
      onUnserved: (queue) => this.#peers.hint(queue),
      onFreed: () => this.#dues.blocked.expect(0),
      onRefill: (delayMs) => this.#dues.blocked.expect(delayMs),
      onUndelivered: (runs) => {
        this.#settle.release(runs.map(({ run, lease }) => ({ run, lease, delayMs: 0 }))).catch(warn('leases could not be given back'))
      },
    })
    this.#waiters = new Waiters(this.#pool, this.events, warn('waited-for runs could not be looked up'))
    this.#peers = new Peers((queue) => this.#notify('reproq_ready', queue), PEER_LOOKS * config.lookMs, warn('other brokers could not be told'))
    this.#context = this.#linkContext()
    this.#scheduler = new Scheduler(this.#pool, {
      brokerId: this.#context.brokerId,
      leaseMs: config.schedulerLeaseMs,
      onFired: ({ name, outcome, run, error }) => {
        if (error !== null) log.warn({ schedule: name, error }, 'a schedule cannot be fired; it is left alone until it is changed')
        this.events.emit('schedule.fired', { schedule: name, outcome, runId: run ?? undefined, error: error ?? undefined })
      },
      onError: warn('schedules could not be looked at; it will be tried again'),
      onChange: (state) => {
        log.info(state, state.mode === 'broker' ? `this broker ${state.leads ? 'fires schedules' : 'leaves schedules to another'}` : `schedules are fired by ${state.mode === 'off' ? 'nobody' : state.mode}: this broker stands still`)
        this.events.emit('scheduler.changed', state)
      },
    })
    this.#dues = duesOf({
      pool: this.#pool,
      config,
      events: this.events,
      onReady: (queue) => this.#dispatch.wake(queue),
      failed: warn,
      stopping: this.#abort.signal,
    })
    this.#holdings = holdingsOf(this.#context)
    this.#listen = new Listen(config.databaseUrl, this.#context.brokerId, (channel, payload) => this.#notify(channel, payload), this.#hints(), log)
    this.#followEvents()
  }

  /** Connects, listens, serves. Resolves with the URL it answers at. The schema must be there (`migrate`). */
  async start(): Promise<{ url: string }> {
    await this.#tokens.mustExistBeyondLoopback(this.config.host)
    await this.#listen.start()
    this.#app = await buildApp({
      config: this.config,
      log: this.log,
      db: this.#pool,
      reads: this.#reads,
      events: this.events,
      tokens: this.#tokens,
      streams: this.#streams,
      ingest: new Ingest(this.#pool, this.events, this.#dispatch, this.#settle, this.#dues.scheduled, { leaseMs: this.config.leaseMs, onUncertain: () => (this.#strayed = true) }),
      waiters: this.#waiters,
      settle: this.#settle,
      output: this.#output,
      logLinks: this.#logLinks,
      progress: this.#progress,
      link: this.#context,
      cancel: (runs) => this.#cancel(runs),
      operate: () => this.#dues.operations.expect(0),
      retire: (worker, how) => this.#notify('reproq_retire', `${how} ${worker}`),
      ready: () => this.#readiness(),
    })
    await lookAround(this.#pool, this.#dues)
    if (this.config.scheduler === 'off') await this.#scheduler.stop()
    await this.#scheduler.lead()
    this.#listen.greet()
    for (const chore of this.#chores()) void runLoop(chore, this.#abort.signal, this.log)
    this.#url = await this.#listenOn(this.#app)
    return { url: this.#url }
  }

  /** Drains: no more leases, results still taken for `drainMs` (or until every worker has left), then closes. Database last. */
  stop({ drainMs = this.config.drainMs }: { drainMs?: number } = {}): Promise<void> {
    return (this.#stopping ??= this.#stop(drainMs))
  }

  async #stop(drainMs: number): Promise<void> {
    // First of all: /readyz and new workers are told before anything is taken away.
    this.#links.drain()
    this.#dispatch.stop()
    const until = performance.now() + drainMs
    while (this.#links.open().some((link) => link.ledger.size > 0) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20))
    for (const link of this.#links.all()) link.dismiss()
    this.#abort.abort()
    this.#waiters.stop()
    await Promise.all(Object.values(this.#dues).map((due) => due.stop()))
    await this.#scheduler.stop()
    this.#settle.stop()
    await this.#close()
    await this.#listen.stop()
    await this.#reads.close()
    await this.#pool.close()
  }

  /** A client that reads nothing of its answer must not keep the broker from ending. */
  async #close(): Promise<void> {
    const { server } = this.#app ?? {}
    const timer = setTimeout(() => server?.closeAllConnections(), CLOSE_MS)
    await this.#app?.close()
    clearTimeout(timer)
  }

  async #listenOn(app: App): Promise<string> {
    const { host, port } = this.config
    try {
      return await app.listen({ host, port })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
      throw new BrokerError('PORT_TAKEN', `Something already listens on ${host}:${port}`, { cause: error })
    }
  }

  #linkContext(): LinkContext {
    const { config, log, events } = this
    const renewals = new GroupCommit<sessions.Session, boolean>(
      async (batch) => {
        const renewed = await sessions.renew(this.#pool, batch, config.leaseMs)
        return batch.map((session) => renewed.has(session.sessionId))
      },
      { limit: 1_000 },
    )
    return {
      brokerId: randomUUID(),
      config,
      db: this.#pool,
      events,
      log,
      dispatch: this.#dispatch,
      settle: this.#settle,
      output: this.#output,
      progress: this.#progress,
      sessions,
      renewals,
      limits: new GroupCommit((wanted) => setRunLimits(this.#pool, wanted, config.maxTimeoutMs), { limit: 500 }),
      links: this.#links,
      now: () => performance.now(),
      settleUndeliverable: (entry, run, done) => settleUndeliverable(this.#context, entry, run, done),
    }
  }

  async #notify(channel: string, payload: string): Promise<void> {
    await this.#pool.query(notifySql, [channel, payload])
  }

  #hints() {
    return {
      ready: (queue: string | undefined) => (queue ? this.#dispatch.hinted(queue) : this.#dispatch.wakeAll()),
      peer: (brokerId: string) => {
        if (this.#peers.heard(brokerId)) this.#listen.greet()
      },
      scheduled: () => void this.#dues.scheduled.runOnce(),
      expiring: () => void this.#dues.expiring.runOnce(),
      freed: () => void this.#dues.blocked.runOnce(),
      workflow: () => void this.#dues.workflows.runOnce(),
      schedules: () => void this.#scheduler.changed(),
      retire: (worker: string, how: 'drain' | 'stop') => this.#links.retire(worker, how === 'stop' ? 0 : RETIRE_MS),
      cancel: (run: string) => {
        cancelWhereHeld(this.#context, run)
        // A foreign writer may flag a run that is not running: those are ours to end.
        this.#cancel([run]).catch((error: unknown) => this.log.warn({ err: error, runId: run }, 'a cancel could not be carried out yet'))
      },
      expired: (run: string) => {
        announceExpired({ pool: this.#pool, events: this.events }, run).catch((error: unknown) => this.log.debug({ err: error, runId: run }, 'the end of a run could not be told; who waits for it looks'))
      },
      connected: () => {
        this.#dispatch.wakeAll()
        void this.#scheduler.runOnce()
        lookAround(this.#pool, this.#dues).catch((error: unknown) => this.log.warn({ err: error }, 'after connecting anew nothing could be looked at; the next look does'))
      },
    }
  }

  /** A retry, a release or a reaped session makes a run ready, now or later. */
  #followEvents() {
    this.events.on('run.settled', ({ status, queue, delayMs }) => {
      if (status !== 'READY') return
      if (delayMs > 0) this.#dues.scheduled.expect(delayMs)
      else this.#dispatch.wake(queue)
    })
    // A socket that drops shortens its session.
    this.events.on('link.closed', ({ workerId }) => workerId !== undefined && this.#dues.sessions.expect(this.config.reconnectMs))
    this.events.on('session.opened', () => this.#dues.sessions.expect(this.config.leaseMs))
    this.events.on('keys.freed', () => void this.#dues.blocked.runOnce())
  }

  async #cancel(runs: string[]) {
    const rows = await cancel(this.#pool, runs)
    if (rows.some(({ keyed }) => keyed)) this.events.emit('keys.freed', {})
    for (const { run, queue, was, status } of rows) {
      if (status === 'RUNNING') cancelWhereHeld(this.#context, run)
      else if (was !== status) this.events.emit('run.settled', { runId: run, queue, task: '', status, attempt: 0, workerId: undefined, cause: 'cancelled', delayMs: 0, wallMs: undefined })
    }
    return rows
  }

  #readiness() {
    const { mode, leads } = this.#scheduler
    const scheduler = mode !== 'broker' ? mode : leads ? ('leads' as const) : ('stands_by' as const)
    return { database: this.#pool.healthyMs > 0, listening: this.#listen.connected, draining: this.#links.draining, scheduler }
  }

  #chores() {
    const { config, events, log } = this
    const context: ChoreContext = {
      config,
      pool: this.#pool,
      listen: this.#listen,
      events,
      log,
      dispatch: this.#dispatch,
      dues: this.#dues,
      settle: this.#settle,
      holdings: this.#holdings,
    }
    const strays = {
      name: 'strays',
      everyMs: 1_000,
      runOnce: async () => {
        if (!this.#strayed) return
        // Before, not after: another statement may fail while this one looks.
        this.#strayed = false
        await releaseStray(context).catch((error: unknown) => {
          this.#strayed = true
          throw error
        })
      },
    }
    return [
      ...chores(context),
      vacuum(this.#pool, events),
      checkLinks(this.#links, () => this.#pool.stoodStill()),
      // As often as a live worker is heard of: a token that has ended is worth no more than a worker that has.
      endWithToken(this.#tokens, this.#links, this.#streams, config.heartbeatMs),
      strays,
      retention({ pool: this.#pool, config, stopping: this.#abort.signal }),
    ]
  }
}
