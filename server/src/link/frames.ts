import { CAPABILITIES, type BrokerFrameOf, type Cancellation, type Subscription, type Verdict, type WorkerFrameOf } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import type { Outcome } from '../engine/group-commit.js'
import type { Disposition, Reported } from '../engine/settle.js'
import type { Release } from '../runs/release.js'
import type { Reconciled } from '../sessions/sessions.js'
import { extend } from './extend.js'
import type { Entry } from './ledger.js'
import type { Link } from './link.js'
import { checkpointLimit, log, progress } from './output-frames.js'

type Handlers = { [T in keyof WorkerFrameOf]: (link: Link, frame: WorkerFrameOf[T]) => Promise<void> | void }

/** Frame → what it does. Handlers read, call, answer; decisions are made elsewhere. */
export const handlers: Handlers = {
  hello,
  subs: (link, { v, items }) => {
    const { allowed, refused } = withinScope(link, items)
    if (refused.length > 0) link.complain('forbidden', `The token does not cover: ${refused.map(({ queue }) => queue).join(', ')}`)
    if (link.ledger.subscribe(allowed, v)) link.context.dispatch.wakeAll()
  },
  accept: (link, { l }) => link.ledger.accept(l),
  hb: heartbeat,
  result,
  release,
  log,
  progress,
  extend,
  drain: (link) => link.draining(),
  bye,
}

const SDK_VERSION_LIMIT = 64
const RETRY_AFTER_MS = 1_000

async function hello(link: Link, frame: WorkerFrameOf['hello']): Promise<void> {
  link.opening()
  try {
    await greet(link, frame)
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'DATABASE_UNAVAILABLE') throw error
    link.fail('internal', 'unavailable', 'The database cannot be reached; say hello again in a moment')
  }
}

async function greet(link: Link, frame: WorkerFrameOf['hello']): Promise<void> {
  const { config, db, sessions, brokerId, links, events, dispatch } = link.context
  const workerId = `${frame.worker}#${frame.instance.slice(0, 8)}`
  const { allowed, refused } = withinScope(link, frame.subs)
  const resumed = frame.resume && (await sessions.resume(db, frame.resume.session, frame.resume.key, workerId, brokerId, config.leaseMs))
  const session = resumed ?? (await sessions.open(db, registrationOf(frame, workerId, allowed), brokerId, config.leaseMs))
  if (link.phase === 'closed') return
  link.opened(session)
  if (resumed) links.ofSession(session.sessionId)?.supersede()

  const verdicts = await sessions.reconcile(db, session.sessionId, frame.held)
  // The broker thought these were delivered; the worker never had them.
  if (resumed) {
    // Known by lease, not by run: it may hold an old lease of a run whose new one never reached it.
    const kept = verdicts.filter(({ verdict }) => verdict === 'keep' || verdict === 'cancel').map(({ run }) => run)
    const undelivered = await sessions.stray(db, [session], kept)
    // What is still on its way reaches this link, or goes back because its old one is gone.
    releaseInBackground(link, undelivered.filter(({ lease }) => !dispatch.isFlying(lease)).map((item) => ({ ...item, delayMs: 0 })))
  }
  // Also when it closed meanwhile: its leases are under this session now, and `closed` has shortened it.
  const answers = verdicts.map((verdict) => verdictFor(link, verdict))
  link.ledger.subscribe(allowed, 1)
  link.send({
    t: 'welcome',
    session: session.sessionId,
    key: 'key' in session ? (session.key as string) : (frame.resume as { key: string }).key,
    conn: session.conn,
    resumed: resumed !== undefined,
    caps: CAPABILITIES.filter((capability) => frame.caps.includes(capability) && (capability !== 'logs' || config.logBytes > 0)),
    hb_ms: config.heartbeatMs,
    lease_ms: config.leaseMs,
    safety_ms: config.safetyMs,
    reconnect_ms: config.reconnectMs,
    limits: { frame: config.frameBytes, payload: config.payloadBytes, output: config.outputBytes, window: config.maxWindow, batch: 500, log: config.logBytes, checkpoint: checkpointLimit(config) },
    verdicts: answers,
    refused,
  })
  if (link.phase === 'opening') link.ready()
  events.emit('session.opened', { sessionId: session.sessionId, workerId, resumed: resumed !== undefined })
}

function registrationOf(frame: WorkerFrameOf['hello'], workerId: string, lanes: Subscription[]) {
  return {
    workerId,
    host: frame.host ?? null,
    concurrency: frame.concurrency ?? lanes.reduce((sum, lane) => sum + lane.window, 0),
    queues: [...new Set(lanes.flatMap((lane) => lane.queues))],
    version: `${frame.sdk.name} ${frame.sdk.version}`.slice(0, SDK_VERSION_LIMIT),
  }
}

function withinScope(link: Link, lanes: Subscription[]) {
  const allowed = lanes.map(({ queues, window }) => ({ queues: queues.filter(link.allows), window })).filter((lane) => lane.queues.length > 0)
  const refused = [...new Set(lanes.flatMap((lane) => lane.queues))].filter((queue) => !link.allows(queue)).map((queue) => ({ queue, code: 'forbidden' as const }))
  return { allowed, refused }
}

function verdictFor(link: Link, { run, lease, verdict, queue, task, attempt, maxAttempts, retry, crashes }: Reconciled): Verdict {
  if (verdict === 'lost' || verdict === 'finalized') return { run, lease, verdict }
  const entry = link.ledger.add({ run, lease, queue: queue ?? '', task: task ?? '', attempt: attempt ?? 1, maxAttempts: maxAttempts ?? 1, retry, crashes, state: 'accepted' })
  if (verdict === 'cancel') {
    entry.cancelRequested = true
    entry.cancel = { mode: 'soft', reason: 'cancelled', grace_ms: link.context.config.cancelGraceMs }
  }
  return { run, lease, verdict, l: entry.l }
}

async function heartbeat(link: Link, { n, held }: WorkerFrameOf['hb']): Promise<void> {
  // Compared before waiting: what is delivered and accepted meanwhile is not in `held`, and not forgotten either.
  const { lost, forgotten } = link.ledger.compare(held)
  const renewed = await link.context.renewals.add(link.session).catch(() => undefined)
  if (renewed === false) return link.fail('heartbeat_timeout', 'heartbeat_timeout', 'The session is over; say hello again')
  if (forgotten.length > 0) giveBack(link, forgotten.map((entry) => ({ entry, delayMs: 0 })))
  link.send({ t: 'hb_ack', n, ok: renewed === true, lost, cancel: cancellations(link) })
}

function cancellations(link: Link): Cancellation[] {
  return link.ledger.entries().flatMap((entry) => (entry.cancel && entry.state !== 'settling' ? [{ l: entry.l, ...entry.cancel }] : []))
}

async function result(link: Link, { items }: WorkerFrameOf['result']): Promise<void> {
  const accepted: Accepted[] = []
  const refused: Refused[] = []
  const reported: (Reported & { held: Entry })[] = []
  const repeated: Entry[] = []
  const checkpointing: Promise<unknown>[] = []
  for (const item of items) {
    const held = link.ledger.get(item.l)
    if (!held) refused.push({ l: item.l, code: 'unknown_handle' })
    else if (held.state === 'settling') repeated.push(held)
    else {
      held.state = 'settling'
      if (held.checkpointing) checkpointing.push(held.checkpointing)
      // Told to stop because its time was over: whatever the worker calls that, it is a timeout.
      const timedOut = held.cancel?.reason === 'timeout' && item.outcome === 'cancelled'
      reported.push({ held, report: timedOut ? { ...item, outcome: 'timeout' } : item, wallMs: item.wall_ms })
    }
  }
  const { settle } = link.context
  // A retry must find what this attempt left for it.
  const settling = link.track(checkpointing.length > 0 ? Promise.all(checkpointing).then(() => settle.settleAll(reported)) : settle.settleAll(reported))
  for (const { held } of reported) held.settling = settling
  // Said twice before the answer: the first word counts, and is waited for.
  await Promise.all(repeated.map((entry) => entry.settling))
  const outcomes = await settling
  reported.forEach(({ held }, index) => {
    const answer = answerFor(link, held, outcomes[index] as Outcome<Disposition>)
    if ('disp' in answer) accepted.push(answer)
    else refused.push(answer)
  })
  for (const { l, run } of repeated) {
    if (link.ledger.get(l)) refused.push({ l, code: 'temporary', retry_after_ms: RETRY_AFTER_MS })
    else accepted.push({ l, disp: 'duplicate' })
    link.context.log.debug({ runId: run }, 'a result was sent twice')
  }
  if (accepted.length > 0) link.send({ t: 'result_ok', items: accepted })
  if (refused.length > 0) link.send({ t: 'result_no', items: refused })
  link.context.dispatch.freed()
}

type Accepted = BrokerFrameOf['result_ok']['items'][number]
type Refused = BrokerFrameOf['result_no']['items'][number]

function answerFor(link: Link, entry: Entry, outcome: Outcome<Disposition>): Accepted | Refused {
  const { l } = entry
  if (!outcome.ok) {
    // Not known to be stored: the worker keeps it and sends it again; if it was stored after all, that is a duplicate.
    link.context.log.warn({ err: outcome.error, runId: entry.run }, 'a result could not be stored yet')
    entry.state = 'accepted'
    return { l, code: 'temporary', retry_after_ms: outcome.error instanceof BrokerError ? (outcome.error.retryAfterMs ?? RETRY_AFTER_MS) : RETRY_AFTER_MS }
  }
  link.ledger.remove(entry)
  const { out } = outcome
  switch (out.disp) {
    case 'stale_lease':
    case 'already_final':
      return { l, code: out.disp }
    case 'duplicate':
      return { l, disp: 'duplicate' }
    case 'retry_scheduled':
      return { l, disp: 'retry_scheduled', delay_ms: Math.round(out.delayMs) }
    case 'finalized':
      return out.code ? { l, disp: 'finalized', code: out.code } : { l, disp: 'finalized' }
  }
}

function release(link: Link, { items }: WorkerFrameOf['release']): void {
  giveBack(link, items.flatMap(({ l, delay_ms = 0 }) => {
    const entry = link.ledger.get(l)
    return entry ? [{ entry, delayMs: delay_ms }] : []
  }))
}

function giveBack(link: Link, items: { entry: Entry; delayMs: number }[]): void {
  for (const { entry } of items) link.ledger.remove(entry)
  const checkpointing = items.flatMap(({ entry }) => entry.checkpointing ?? [])
  releaseInBackground(link, items.map(({ entry, delayMs }) => ({ run: entry.run, lease: entry.lease, delayMs })), checkpointing)
  link.context.dispatch.freed()
}

function releaseInBackground(link: Link, leases: Release[], first: Promise<unknown>[] = []): void {
  const { settle, log } = link.context
  link.track(Promise.all(first).then(() => settle.release(leases))).catch((error: unknown) => log.error({ err: error }, 'leases could not be given back'))
}

async function bye(link: Link, { reason }: WorkerFrameOf['bye']): Promise<void> {
  const { db, sessions, settle, events } = link.context
  await link.leaving()
  await settle.release(link.ledger.entries().map(({ run, lease }) => ({ run, lease, delayMs: 0 })))
  await sessions.close(db, link.session)
  events.emit('session.closed', { sessionId: link.sessionId, workerId: link.workerId, reason })
  link.finish(1000, 'bye')
}
