import type { Outcome } from '../../../protocol/src/index.js'
import type { ReproqError } from '../../../sdk-ts/src/reproq-error.js'
import type { HeldRun } from './slots.js'

/** Which attempt of which run. */
export interface RunFacts {
  runId: string
  task: string
  queue: string
  attempt: number
}

/** What a worker tells whoever listens. Nothing depends on the listeners. */
export interface WorkerEventMap {
  /** Welcomed by a broker. `resumed`: under the session it had before. `refused`: queues its token does not cover. */
  connected: [{ url: string; session: string; resumed: boolean; refused: string[] }]
  /** The socket is gone; unless the worker is ending, it connects again by itself. */
  disconnected: [{ reason: string }]
  'run.started': [RunFacts]
  /** The code has ended; the broker may not know yet. */
  'run.settled': [RunFacts & { outcome: Outcome; wallMs: number; error: string | undefined }]
  /** The broker has stored the result. `code`: it could not keep the output, which failed the run. */
  'run.confirmed': [RunFacts & { disposition: 'finalized' | 'retry_scheduled' | 'duplicate'; code: string | undefined }]
  /** Given back unfinished, at no cost for the run. */
  'run.released': [RunFacts & { reason: string }]
  /** The lease is over without a result of ours: another worker may run it, or has. */
  'lease.lost': [RunFacts & { reason: string }]
  /** No broker confirmed the leases in time: everything that runs is being stopped. */
  'trust.lost': [{ runs: number }]
  'trust.regained': []
  /** It is over: the broker refused this worker for good. */
  failed: [ReproqError]
}

/** Emits one event. Must not throw. `data` is made only when somebody listens: most runs end with nobody looking. */
export type Tell = <Name extends keyof WorkerEventMap>(name: Name, data?: () => WorkerEventMap[Name][number]) => void

export function factsOf({ assignment: { run, task, queue, attempt } }: HeldRun): RunFacts {
  return { runId: run, task, queue, attempt }
}
