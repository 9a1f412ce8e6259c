import { EventEmitter } from 'node:events'
import type { Status } from '../../protocol/src/index.js'

/** What happened and is committed. Telemetry, waiters and event streams listen; nothing that happens depends on them. */
export interface EventMap {
  'run.enqueued': { runId: string; queue: string; task: string }
  'run.leased': { runId: string; queue: string; task: string; attempt: number; workerId: string }
  /** Final, or READY again: a retry, or a release that cost no attempt. */
  'run.settled': { runId: string; queue: string; task: string; status: Status; attempt: number; workerId: string | undefined; cause: string; delayMs: number; wallMs: number | undefined }
  /** Runs that held keys hold them no longer: others may have been waiting for it. */
  'keys.freed': Record<never, never>
  /** A slot of a schedule; `error` says why it could not be fired. */
  'schedule.fired': { schedule: string; outcome: string; runId: string | undefined; error: string | undefined }
  /** This broker begins or ends to fire schedules, or the database has another kind of scheduler now. */
  'scheduler.changed': { mode: string; leads: boolean }
  /** It has more output. */
  'run.logged': { runId: string }
  /** What its code says about how far it is; `data` is JSON text. */
  'run.progress': { runId: string; attempt: number; pct: number | undefined; note: string | undefined; data: string | undefined; at: string }
  'result.refused': { runId: string; workerId: string; code: string }
  'session.opened': { sessionId: string; workerId: string; resumed: boolean }
  'session.lost': { sessionId: string; workerId: string }
  'session.closed': { sessionId: string; workerId: string; reason: string }
  'link.closed': { workerId: string | undefined; code: string }
}
export type EventName = keyof EventMap

/** Typed emitter. Listeners are few and must not throw. */
export class Events {
  readonly #emitter = new EventEmitter().setMaxListeners(0)

  emit<Name extends EventName>(name: Name, event: EventMap[Name]): void {
    this.#emitter.emit(name, event)
  }

  /** Returns the function that takes the listener off again. */
  on<Name extends EventName>(name: Name, listener: (event: EventMap[Name]) => void): () => void {
    this.#emitter.on(name, listener)
    return () => this.#emitter.off(name, listener)
  }
}
