import t from 'tap'
import type { WorkerFrame } from '../../../protocol/src/index.js'
import { Answers } from './answers.js'
import { leased, LIMITS } from './scripted-broker.test.given.js'
import { Slots } from './slots.js'

/** Answers over a link that only writes down what it was given. */
function given(t: { teardown(end: () => void): void }) {
  const sent: WorkerFrame[] = []
  const flushed: (() => void)[] = []
  const link = {
    isOpen: true,
    bufferedBytes: 0,
    send(text: string, done?: () => void) {
      sent.push(JSON.parse(text) as WorkerFrame)
      if (done) flushed.push(done)
      return true
    },
  }
  const slots = new Slots(10)
  const returned: string[] = []
  const state = { trusted: true }
  const answers = new Answers({ link, now: () => 0, trusted: () => state.trusted, returned: ({ assignment }) => returned.push(assignment.run) })
  t.teardown(() => answers.stop())
  answers.welcomed(LIMITS)
  const hold = (run: number) => slots.add(leased(run, 'x'))
  return { answers, link, sent, flushed, returned, state, hold }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))
const ok = { outcome: 'ok' as const, output: '1' }

t.test('an accept goes out at once, releases and results of one turn together', async (t) => {
  const { answers, sent, returned, hold } = given(t)
  answers.accept([1, 2, 3])
  t.same(sent, [{ t: 'accept', l: [1, 2, 3] }])
  answers.report(hold(1), ok)
  answers.giveBack(hold(2), 'shutdown')
  answers.report(hold(3), ok)
  t.equal(sent.length, 1)
  await turn()
  t.match(sent.slice(1), [{ t: 'release', items: [{ l: 2, reason: 'shutdown' }] }, { t: 'result', items: [{ l: 1, ...ok }, { l: 3, ...ok }] }])
  t.same(returned, ['2'])
})

t.test('without a link nothing is lost: it goes out on the next one', async (t) => {
  const { answers, link, sent, returned, hold } = given(t)
  link.isOpen = false
  answers.report(hold(1), ok)
  answers.giveBack(hold(2), 'preempted')
  await turn()
  t.same(returned, [])
  link.isOpen = true
  answers.welcomed(LIMITS)
  await turn()
  t.same(sent.map((frame) => frame.t), ['release', 'result'])
})

t.test('results wait while the socket is full, so that a heartbeat never does', async (t) => {
  const { answers, link, sent, flushed, hold } = given(t)
  answers.report(hold(1), ok)
  await turn()
  link.bufferedBytes = 2_000_000
  answers.report(hold(2), ok)
  await turn()
  t.equal(sent.length, 1)
  link.bufferedBytes = 0
  flushed[0]?.()
  await turn()
  t.match(sent, [{ t: 'result' }, { t: 'result', items: [{ l: 2 }] }], 'when the first has left, the second follows')
})

t.test('without trust results wait, and releases do not', async (t) => {
  const { answers, sent, state, hold } = given(t)
  state.trusted = false
  answers.report(hold(1), ok)
  answers.giveBack(hold(2), 'preempted')
  await turn()
  t.same(sent.map((frame) => frame.t), ['release'])
  state.trusted = true
  answers.regained()
  await turn()
  t.same(sent.map((frame) => frame.t), ['release', 'result'])
})
