import type { WorkerFrame } from '../../../protocol/src/index.js'

/**
 * Life of a link: `greeting` (connected, nothing said) → `opening` (hello is being answered) → `open` → `draining`
 * (the worker takes no more) → `leaving` (it said goodbye) → `closed`.
 */
export type Phase = 'greeting' | 'opening' | 'open' | 'draining' | 'leaving' | 'closed'

const legal: Record<Phase, readonly WorkerFrame['t'][]> = {
  greeting: ['hello'],
  opening: [],
  open: ['subs', 'accept', 'hb', 'result', 'release', 'log', 'progress', 'extend', 'drain', 'bye'],
  draining: ['subs', 'accept', 'hb', 'result', 'release', 'log', 'progress', 'extend', 'drain', 'bye'],
  leaving: ['hb', 'accept'],
  closed: [],
}

/** Whether a worker may send this frame now (the table of PROTOCOL.md, RQ-CONN). */
export function isLegal(phase: Phase, t: WorkerFrame['t']): boolean {
  return legal[phase].includes(t)
}
