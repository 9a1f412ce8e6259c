import type { ExtendedItem, WorkerFrameOf } from '../../../protocol/src/index.js'
import type { Outcome } from '../engine/group-commit.js'
import { BrokerError } from '../errors.js'
import type { Entry } from './ledger.js'
import type { Link } from './link.js'

const RETRY_AFTER_MS = 1_000

/** Running code asks for another run-time limit. Answered after the commit: what the worker goes by is what the watch goes by. */
export async function extend(link: Link, { items }: WorkerFrameOf['extend']): Promise<void> {
  const refused: ExtendedItem[] = []
  const asked: { entry: Entry; timeoutMs: number }[] = []
  for (const { l, timeout_ms: timeoutMs } of items) {
    const entry = link.ledger.get(l)
    if (!entry) refused.push({ l, code: 'unknown_handle' })
    else if (entry.state === 'settling') refused.push({ l, code: 'stale_lease' })
    else if (entry.cancel) refused.push({ l, code: 'stopping' })
    else asked.push({ entry, timeoutMs })
  }
  const outcomes = await link.context.limits.addAll(asked.map(({ entry: { run, lease }, timeoutMs }) => ({ run, lease, timeoutMs })))
  const answers = asked.map(({ entry }, index) => answerFor(link, entry, outcomes[index] as Outcome<number | undefined>))
  link.send({ t: 'extended', items: [...refused, ...answers] })
}

function answerFor(link: Link, { l, run }: Entry, outcome: Outcome<number | undefined>): ExtendedItem {
  if (outcome.ok) {
    if (outcome.out === undefined) return { l, code: 'stale_lease' }
    return outcome.out < 1 ? { l, code: 'maximum_reached' } : { l, timeout_ms: outcome.out }
  }
  link.context.log.warn({ err: outcome.error, runId: run }, 'a run-time limit could not be stored yet')
  return { l, code: 'temporary', retry_after_ms: outcome.error instanceof BrokerError ? (outcome.error.retryAfterMs ?? RETRY_AFTER_MS) : RETRY_AFTER_MS }
}
