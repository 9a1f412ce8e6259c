import { RETIRE, type BrokerFrame, type BrokerFrameOf, type Cancellation, type ReleaseReason, type Subscription, type WorkerFrame } from '../../../protocol/src/index.js'
import type { TaskLog } from '../../../sdk-ts/src/define-task.js'
import type { ReproqError } from '../../../sdk-ts/src/reproq-error.js'
import { Answers } from './answers.js'
import { Changes } from './changes.js'
import { isLoner, Stop, type Executor, type Settlement } from './executor.js'
import { Extensions } from './extensions.js'
import { Intake } from './intake.js'
import { Link, type Greeting, type LinkOptions, type LinkOwner, type Welcome } from './link.js'
import { Outages } from './outages.js'
import { OutputLane } from './output-lane.js'
import { perform } from './perform.js'
import { Prefetch } from './prefetch.js'
import { Pulse } from './pulse.js'
import { handoverOf } from './result-item.js'
import { Returns } from './returns.js'
import { Slots, type HeldRun } from './slots.js'
import { factsOf, type Tell } from './worker-events.js'

export interface LesseeOptions extends LinkOptions {
  /** Who this process is; the rest of the greeting changes with time. */
  identity: Omit<Greeting, 'subs' | 'held'>
  lanes: readonly Subscription[]
  /** The most leases beyond those windows, while runs are short. */
  prefetch: number
  concurrency: number
  executors: readonly Executor[]
  /** Whether another worker of that queue takes what no executor here serves. */
  givesBackUnserved(queue: string): boolean
  tell: Tell
  failed(error: ReproqError): void
  /** Somebody wants this worker gone; `graceMs` 0: at once. */
  retired(graceMs: number): void
}

type Disposition = BrokerFrameOf['result_ok']['items'][number]['disp']

const RETRY_MS = 1_000

/** Holds leases over a link: takes runs, runs them, answers for them, and knows when it may no longer. */
export class Lessee implements LinkOwner {
  readonly #options: LesseeOptions
  readonly #log: TaskLog
  readonly #link: Link
  readonly #pulse: Pulse
  readonly #slots: Slots
  readonly #answers: Answers
  readonly #intake: Intake
  readonly #output: OutputLane
  readonly #extensions: Extensions
  readonly #outages: Outages
  readonly #prefetch: Prefetch
  readonly #returns: Returns
  /** Told of everything that may end a wait. */
  readonly changes = new Changes()

  constructor(options: LesseeOptions) {
    this.#options = options
    this.#log = options.log
    this.#link = new Link(this, options)
    this.#slots = new Slots(options.concurrency)
    this.#pulse = new Pulse({
      now: options.now,
      beat: (n) => this.#send({ t: 'hb', n, held: this.#slots.handles() }),
      lost: (marginMs) => this.#lostTrust(marginMs),
      regained: () => this.#regainedTrust(),
    })
    this.#outages = new Outages({ executors: options.executors, now: options.now, log: options.log, changed: () => this.#outagesChanged() })
    this.#prefetch = new Prefetch({
      concurrency: options.concurrency,
      most: options.prefetch,
      now: options.now,
      changed: () => this.#intake.refresh(),
      isWaiting: () => this.#slots.waiting().length > 0,
      shed: () => this.#shed(),
    })
    this.#intake = new Intake({ lanes: options.lanes, now: options.now, send: (frame) => this.#send(frame), open: ({ queues, window }) => this.#outages.open({ queues, window: window + this.#prefetch.extra }) })
    this.#extensions = new Extensions({ link: this.#link })
    this.#output = new OutputLane({ link: this.#link, now: options.now, log: options.log, extend: (held, timeoutMs) => this.#extensions.ask(held, timeoutMs) })
    this.#answers = new Answers({
      link: this.#link,
      now: options.now,
      trusted: () => this.#pulse.check(),
      returned: (held, reason) => this.#returned(held, reason),
    })
    this.#returns = new Returns({ slots: this.#slots, answers: this.#answers, intake: this.#intake, outages: this.#outages, executorOf: (run) => this.#executorOf(run) })
  }

  // ── its life ──

  start(): void {
    this.#link.start()
  }

  get isConnected(): boolean {
    return this.#link.isOpen
  }

  /** Code is running, even if its lease is gone. */
  get isBusy(): boolean {
    return this.#slots.occupied > 0
  }

  /** The broker still counts something as ours. */
  get isHolding(): boolean {
    return this.#slots.size > 0
  }

  /** The longest grace that running code was promised. */
  get longestGraceMs(): number {
    return Math.max(0, ...this.#slots.all().map((held) => (held.state === 'running' ? held.assignment.cancel_grace_ms : 0)))
  }

  /** Takes no more runs and gives back what has not started. */
  drain(ms: number): void {
    this.#intake.drain(ms)
    this.#returns.all('shutdown')
  }

  /** Tells everything that runs to stop. */
  stopRunning(stop: Stop): void {
    for (const held of this.#slots.all()) if (held.state === 'running') held.stopping.abort(stop)
  }

  /** Says goodbye and waits for the broker to close, at most `ms`. */
  async leave(reason: string, ms: number): Promise<void> {
    this.#answers.flush()
    this.#send({ t: 'bye', reason })
    await this.#link.leave(ms)
    this.#rest()
  }

  #rest() {
    this.#pulse.stop()
    this.#answers.stop()
    this.#output.stop()
    this.#extensions.stop()
    this.#outages.stop()
    this.#prefetch.stop()
  }

  // ── what the link says ──

  greeting(): Greeting {
    return { ...this.#options.identity, subs: this.#intake.lanes(), held: this.#slots.held() }
  }

  welcomed(welcome: Welcome, helloSentAt: number, url: string): void {
    const refused = welcome.refused.map(({ queue }) => queue)
    this.#options.tell('connected', () => ({ url, session: welcome.session, resumed: welcome.resumed, refused }))
    if (refused.length > 0) this.#log.error('The token does not cover all queues', { refused: refused.join(', ') })
    const { cancelled, confirmed, gone } = this.#slots.reconcile(welcome.verdicts)
    for (const held of confirmed) this.#confirm(held, 'finalized')
    for (const held of gone) this.#lose(held, 'another worker has it, or it is over')
    for (const held of cancelled) this.#cancel(held, false, 'cancelled')
    // Before the results: with those the handles are gone.
    this.#output.welcomed(welcome)
    this.#extensions.welcomed(welcome)
    this.#answers.welcomed(welcome.limits)
    this.#pulse.welcomed(helloSentAt, welcome.hb_ms, { leaseMs: welcome.lease_ms, safetyMs: welcome.safety_ms, reconnectMs: welcome.reconnect_ms })
    this.#intake.welcomed()
    this.changes.happened()
  }

  received(frame: Exclude<BrokerFrame, { t: 'welcome' }>): void {
    switch (frame.t) {
      case 'runs':
        return this.#take(frame)
      case 'cancel':
        return this.#cancelAll(frame.items)
      case 'hb_ack':
        return this.#acknowledged(frame)
      case 'result_ok':
        return this.#confirmed(frame)
      case 'result_no':
        return this.#refused(frame)
      case 'extended':
        return this.#extended(frame)
      case 'drain':
        if (frame.reason === RETIRE) return this.#options.retired(frame.grace_ms)
        return this.#log.info('The broker is shutting down', { reason: frame.reason })
      case 'error':
        return // The link has logged it, and a close follows if it is fatal.
    }
  }

  dropped(at: number, reason: string): void {
    this.#pulse.dropped(at)
    this.#options.tell('disconnected', () => ({ reason }))
    this.changes.happened()
  }

  failed(error: ReproqError): void {
    this.#rest()
    for (const held of this.#slots.all()) this.#lose(held, error.message)
    this.#options.failed(error)
    this.changes.happened()
  }

  // ── frames ──

  #take({ items }: BrokerFrameOf['runs']) {
    this.#answers.accept(items.map(({ l }) => l))
    let { isAlone } = this.#intake
    for (const item of items) {
      const executor = this.#executorOf(item)
      const held = this.#slots.add(item, isLoner(item, executor))
      isAlone ||= held.alone
      if (this.#intake.isDraining) this.#returns.one(held, 'shutdown')
      else if (!executor && this.#options.givesBackUnserved(item.queue)) this.#returns.one(held, 'unsupported_task')
      else if (this.#outages.isAny) this.#returns.oneIfBroken(held)
    }
    if (isAlone) this.#returns.clearTheWay()
    this.#startNext()
    this.#prefetch.watch()
  }

  #cancelAll(items: readonly Cancellation[]) {
    for (const { l, mode, reason } of items) {
      const held = this.#slots.get(l)
      if (held) this.#cancel(held, mode === 'hard', reason)
    }
  }

  /** With the reason `timeout` nobody asked for it: the broker found that the run-time limit has passed. */
  #cancel(held: HeldRun, hard: boolean, reason: string) {
    held.cancelRequested ||= reason !== 'timeout'
    if (held.state === 'running') held.stopping.abort(new Stop(reason === 'timeout' ? 'timeout' : 'cancelled', hard))
    if (held.state !== 'waiting') return
    // The broker counts from the lease. What has not started has not used any of its time up.
    if (reason === 'timeout') return this.#returns.one(held, 'overload')
    this.#slots.skip(held)
    this.#report(held, { outcome: 'cancelled', error: { class: 'Cancelled', message: 'The run was cancelled before it started' } }, 0)
  }

  #acknowledged({ n, ok, lost, cancel }: BrokerFrameOf['hb_ack']) {
    for (const l of lost) {
      const held = this.#slots.get(l)
      if (held) this.#lose(held, 'the broker no longer counts it as ours')
    }
    this.#pulse.acknowledged(n, ok)
    this.#cancelAll(cancel)
    this.#startNext()
    this.changes.happened()
  }

  #confirmed({ items }: BrokerFrameOf['result_ok']) {
    for (const { l, disp, code } of items) {
      const held = this.#slots.get(l)
      if (held) this.#confirm(held, disp, code)
    }
    this.#adjustIntake()
  }

  #confirm(held: HeldRun, disposition: Disposition, code?: string) {
    this.#forget(held)
    if (code) this.#log.warn(`The output of run ${held.assignment.run} could not be kept`, { code })
    this.#options.tell('run.confirmed', () => ({ ...factsOf(held), disposition, code }))
  }

  #refused({ items }: BrokerFrameOf['result_no']) {
    for (const { l, code, retry_after_ms = RETRY_MS } of items) {
      const held = this.#slots.get(l)
      if (!held) continue
      if (code === 'temporary') this.#answers.postpone(held, retry_after_ms)
      else this.#lose(held, code)
    }
    this.#adjustIntake()
  }

  #extended({ items }: BrokerFrameOf['extended']) {
    for (const item of items) {
      const held = this.#slots.get(item.l)
      if (held) this.#extensions.answered(held, item)
    }
  }

  // ── runs ──

  #startNext() {
    while (this.#pulse.check()) {
      const held = this.#slots.startNext()
      if (!held) return
      void this.#run(held)
    }
  }

  async #run(held: HeldRun) {
    const startedAt = this.#options.now()
    this.#options.tell('run.started', () => factsOf(held))
    const settlement = await perform(held.assignment, held.stopping, this.#options.executors, this.#output.voiceOf(held))
    const wallMs = this.#options.now() - startedAt
    this.#extensions.forget(held)
    this.#prefetch.ended(wallMs)
    if (settlement.error || this.#outages.isAny) this.#judge(held, settlement)
    this.#options.tell('run.settled', () => ({ ...factsOf(held), outcome: settlement.outcome, wallMs, error: settlement.error && `${settlement.error.class}: ${settlement.error.message}` }))
    if (this.#slots.ended(held)) this.#report(held, settlement, wallMs)
    this.#passed(held)
    this.#startNext()
    this.changes.happened()
  }

  #judge({ assignment }: HeldRun, settlement: Settlement) {
    const executor = this.#executorOf(assignment)
    if (executor) this.#outages.settled(executor, settlement)
  }

  #report(held: HeldRun, settlement: Settlement, wallMs: number) {
    this.#output.finish(held)
    const handover = handoverOf(settlement, wallMs, held.stopping.reason, held.cancelRequested)
    if ('release' in handover) return this.#returns.one(held, handover.release)
    this.#answers.report(held, handover.report)
    this.#adjustIntake()
  }

  #executorOf({ task, queue }: { task: string; queue: string }): Executor | undefined {
    return this.#options.executors.find((executor) => executor.serves(task, queue))
  }

  #passed({ alone }: HeldRun) {
    if (alone) this.#intake.alone(this.#slots.loner !== undefined)
  }

  /** While the leases are in doubt nothing starts here, and for that no run is long. */
  #shed() {
    if (this.#pulse.check()) this.#returns.beyond(this.#options.concurrency + this.#prefetch.extra)
  }

  #outagesChanged() {
    this.#intake.refresh()
    this.#returns.ofBroken()
  }

  #returned(held: HeldRun, reason: ReleaseReason) {
    this.#forget(held)
    this.#options.tell('run.released', () => ({ ...factsOf(held), reason }))
    this.changes.happened()
  }

  /** Not ours any more: code of it is killed, a result of it dropped. */
  #lose(held: HeldRun, reason: string) {
    held.stopping.abort(new Stop('lost_lease', true))
    this.#forget(held)
    this.#log.warn(`The lease of run ${held.assignment.run} is lost: ${reason}`)
    this.#options.tell('lease.lost', () => ({ ...factsOf(held), reason }))
  }

  #forget(held: HeldRun) {
    this.#slots.remove(held)
    this.#answers.forget(held)
    this.#output.forget(held)
    this.#extensions.forget(held)
    this.#passed(held)
  }

  #lostTrust(marginMs: number) {
    const running = this.#slots.all().filter((held) => held.state === 'running')
    this.#log.error('No broker has confirmed the leases in time; what runs is being stopped', { runs: running.length })
    // A grace that outlasts the lease is none that we can give.
    for (const held of running) held.stopping.abort(new Stop('lost_lease', held.assignment.cancel_grace_ms > marginMs))
    this.#options.tell('trust.lost', () => ({ runs: running.length }))
  }

  #regainedTrust() {
    this.#options.tell('trust.regained')
    this.#answers.regained()
    this.#startNext()
  }

  #adjustIntake() {
    const did = this.#intake.adjust(this.#answers)
    if (did === 'paused') this.#log.warn('Too many results wait to be confirmed; no new runs are taken')
    if (did === 'resumed') this.#log.info('There is room for new runs again')
    this.changes.happened()
  }

  #send(frame: Exclude<WorkerFrame, { t: 'hello' } | { t: 'result' }>): boolean {
    return this.#link.send(JSON.stringify(frame))
  }
}
