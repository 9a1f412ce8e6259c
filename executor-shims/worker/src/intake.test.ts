import t from 'tap'
import type { WorkerFrame } from '../../../protocol/src/index.js'
import { Intake } from './intake.js'

function given() {
  const sent: WorkerFrame[] = []
  let now = 1_000
  const intake = new Intake({ lanes: [{ queues: ['a', 'b'], window: 14 }], now: () => now, open: (lane) => lane, send: (frame) => sent.push(frame) > 0 })
  return { intake, sent, pass: (ms: number) => (now += ms) }
}

const open = [{ queues: ['a', 'b'], window: 14 }]
const closed = [{ queues: ['a', 'b'], window: 0 }]

t.test('it pauses when results pile up and goes on when there is room, saying each once and with a higher version', async (t) => {
  const { intake, sent } = given()
  t.same(intake.lanes(), open)
  t.equal(intake.adjust({ isFull: false, isRoomy: true }), undefined)
  t.equal(intake.adjust({ isFull: true, isRoomy: false }), 'paused')
  t.same(intake.lanes(), closed, 'also for the next hello')
  t.equal(intake.adjust({ isFull: true, isRoomy: false }), undefined)
  t.equal(intake.adjust({ isFull: false, isRoomy: false }), undefined, 'a little room is not enough')
  t.equal(intake.adjust({ isFull: false, isRoomy: true }), 'resumed')
  t.same(sent, [
    { t: 'subs', v: 2, items: closed },
    { t: 'subs', v: 3, items: open },
  ])
})

t.test('a drain is for good, and every new link hears of it with the time that is left', async (t) => {
  const { intake, sent, pass } = given()
  intake.welcomed()
  t.same(sent, [])
  intake.drain(5_000)
  t.equal(intake.isDraining, true)
  pass(2_000)
  intake.welcomed()
  pass(9_000)
  intake.welcomed()
  t.same(sent, [5_000, 3_000, 0].map((deadline_ms) => ({ t: 'drain', deadline_ms })))
  intake.adjust({ isFull: true, isRoomy: false })
  intake.adjust({ isFull: false, isRoomy: true })
  t.same(intake.lanes(), closed)
})
