import { readFileSync } from 'node:fs'
import t from 'tap'
import { TrustWindow } from '../../executor-shims/worker/src/deadline.js'
import { workerFrames, type WorkerFrame } from '../../protocol/src/index.js'
import { permitsWork } from '../../server/src/http/scopes.js'
import { isLegal, type Phase } from '../../server/src/link/phase.js'
import { backoffMs } from '../../server/src/runs/retry-policy.js'

// Our broker and our worker against the vectors that every implementation of the protocol is measured by.

function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../protocol/vectors/${name}.json`, import.meta.url), 'utf8')) as T
}

t.test('the wait between attempts', (t) => {
  const { vectors: cases } = vectors<{ vectors: { base_ms: number; cap_ms: number; factor?: number; delays_ms?: number[]; attempt: number; wait_ms: number }[] }>('backoff')
  for (const { base_ms, cap_ms, factor = 2, delays_ms = [], attempt, wait_ms } of cases) {
    t.equal(backoffMs(attempt, { baseMs: base_ms, capMs: cap_ms, factor, delaysMs: delays_ms, jitter: 0 }), wait_ms, `attempt ${attempt}, base ${base_ms}, cap ${cap_ms}`)
  }
  t.end()
})

t.test('the queues a token covers', (t) => {
  const { vectors: cases } = vectors<{ vectors: { scopes: string[]; covers: string[]; leaves_out: string[] }[] }>('scopes')
  for (const { scopes, covers, leaves_out } of cases) {
    for (const queue of covers) t.ok(permitsWork(scopes, queue), `${scopes.join(' ')} covers "${queue}"`)
    for (const queue of leaves_out) t.notOk(permitsWork(scopes, queue), `${scopes.join(' ')} leaves out "${queue}"`)
  }
  t.end()
})

type Step =
  | { do: 'welcome'; hello_sent_at: number; at: number }
  | { do: 'send_hb'; n: number; at: number }
  | { do: 'hb_ack'; n: number; ok: boolean; at: number }
  | { do: 'drop'; at: number }
interface DeadlineCase {
  name: string
  terms: { lease_ms: number; safety_ms: number; reconnect_ms: number }
  steps: Step[]
  deadline: number
}

t.test('the deadline of a worker', (t) => {
  for (const { name, terms, steps, deadline } of vectors<{ vectors: DeadlineCase[] }>('deadline').vectors) {
    const window = new TrustWindow()
    for (const step of steps) take(window, step, { leaseMs: terms.lease_ms, safetyMs: terms.safety_ms, reconnectMs: terms.reconnect_ms })
    t.equal(window.deadline, deadline, name)
  }
  t.end()
})

function take(window: TrustWindow, step: Step, terms: Parameters<TrustWindow['welcomed']>[1]): void {
  if (step.do === 'welcome') window.welcomed(step.hello_sent_at, terms)
  else if (step.do === 'send_hb') window.beat(step.n, step.at)
  else if (step.do === 'hb_ack') window.acknowledged(step.n, step.ok)
  else window.dropped(step.at)
}

t.test('the frames that are legal in each phase', (t) => {
  const { phases } = vectors<{ phases: Record<Phase, WorkerFrame['t'][]> }>('phases')
  for (const phase of Object.keys(phases) as Phase[]) {
    const legal = (Object.keys(workerFrames) as WorkerFrame['t'][]).filter((name) => isLegal(phase, name))
    t.strictSame(legal.sort(), [...phases[phase]].sort(), phase)
  }
  t.end()
})
