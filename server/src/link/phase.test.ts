import { readFileSync } from 'node:fs'
import t from 'tap'
import { workerFrames } from '../../../protocol/src/index.js'
import { isLegal, type Phase } from './phase.js'

const all = Object.keys(workerFrames) as (keyof typeof workerFrames)[]
const legalIn = (phase: Phase) => all.filter((frame) => isLegal(phase, frame))

t.test('a connection begins with hello, and with nothing else', async (t) => {
  t.strictSame(legalIn('greeting'), ['hello'])
})

t.test('until the welcome a worker says nothing', async (t) => {
  t.strictSame(legalIn('opening'), [])
})

t.test('hello is said once; everything else may be said while open, and while draining', async (t) => {
  const rest = all.filter((frame) => frame !== 'hello')
  t.strictSame(legalIn('open'), rest)
  t.strictSame(legalIn('draining'), rest)
})

t.test('after goodbye only what may have been on its way is heard, and after the close nothing', async (t) => {
  t.strictSame(legalIn('leaving').toSorted(), ['accept', 'hb'])
  t.strictSame(legalIn('closed'), [])
})

t.test('the vectors that other implementations are held to hold here', async (t) => {
  const { phases } = JSON.parse(readFileSync(new URL('../../../protocol/vectors/phases.json', import.meta.url), 'utf8')) as { phases: Record<Phase, string[]> }
  for (const [phase, frames] of Object.entries(phases)) t.strictSame(legalIn(phase as Phase).toSorted(), frames.toSorted(), phase)
})
