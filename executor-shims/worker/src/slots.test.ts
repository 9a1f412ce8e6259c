import t from 'tap'
import { leased, leaseId, verdict } from './scripted-broker.test.given.js'
import { Slots } from './slots.js'

function holding(count: number, concurrency = 2) {
  const slots = new Slots(concurrency)
  const held = Array.from({ length: count }, (_, index) => slots.add(leased(index + 1, 'x')))
  return { slots, held }
}

t.test('what comes first starts first, and no more at once than there are slots', async (t) => {
  const { slots, held } = holding(3)
  t.equal(slots.startNext(), held[0])
  t.equal(slots.startNext(), held[1])
  t.equal(slots.startNext(), undefined, 'both slots are taken')
  t.equal(slots.ended(held[1]!), true)
  t.equal(slots.startNext(), held[2])
  t.equal(slots.startNext(), undefined)
})

t.test('a run is held, for heartbeats and hello, from its arrival until it is removed', async (t) => {
  const { slots, held } = holding(3)
  const first = slots.startNext()!
  slots.ended(first)
  slots.startNext()
  t.same(slots.handles(), [1, 2, 3])
  t.same(
    slots.held(),
    [
      { run: '1', lease: leaseId(1), state: 'done' },
      { run: '2', lease: leaseId(2), state: 'running' },
      { run: '3', lease: leaseId(3), state: 'running' },
    ],
    'what waits is on its way to run',
  )
  for (const each of held) slots.remove(each)
  t.same(slots.handles(), [])
  t.same(slots.held(), [])
})

t.test('code whose lease is gone keeps its slot until it ends, and has nothing to report then', async (t) => {
  const { slots, held } = holding(2, 1)
  slots.startNext()
  slots.remove(held[0]!)
  t.equal(slots.size, 1)
  t.equal(slots.startNext(), undefined, 'the slot is not free yet')
  t.equal(slots.ended(held[0]!), false)
  t.equal(slots.startNext(), held[1])
})

t.test('a removed or skipped run never starts', async (t) => {
  const { slots, held } = holding(3)
  slots.remove(held[0]!)
  slots.skip(held[1]!)
  t.equal(slots.startNext(), held[2])
  t.equal(slots.startNext(), undefined)
  t.same(slots.handles(), [2, 3], 'a skipped run is held until it is answered')
})

t.test('beyond a number of runs that run and wait are the last that wait, not those that are done or whose lease is gone', async (t) => {
  const { slots, held } = holding(8, 3)
  for (let n = 0; n < 3; n++) slots.startNext()
  slots.ended(held[0]!)
  slots.remove(held[1]!)
  t.same(slots.beyond(6), [], 'one runs, five wait')
  t.same(slots.beyond(4), [held[6], held[7]])
  t.same(slots.beyond(1), held.slice(3))
  t.same(slots.beyond(0), held.slice(3), 'never what runs')
})

t.test('on a new link leases have new handles, and those the broker does not confirm are gone', async (t) => {
  const { slots, held } = holding(5)
  slots.startNext()
  const verdicts = [verdict(1, 'keep', 11), verdict(2, 'cancel', 1), verdict(3, 'lost'), verdict(4, 'finalized')]
  const { cancelled, confirmed, gone } = slots.reconcile(verdicts)
  t.same(cancelled, [held[1]])
  t.same(confirmed, [])
  t.same(gone, [held[2], held[3], held[4]], 'no verdict is a lost lease')
  t.same(slots.handles(), [11, 1])
  t.equal(slots.get(11), held[0])
  t.equal(slots.get(1), held[1], 'a handle that was another one before')
  t.equal(slots.startNext(), held[1])
  t.equal(slots.startNext(), undefined, 'what is gone does not start')
})

t.test('a result that was stored before the link dropped is confirmed by its verdict', async (t) => {
  const { slots, held } = holding(2)
  slots.startNext()
  slots.ended(held[0]!)
  slots.startNext()
  const { confirmed, gone } = slots.reconcile([verdict(1, 'finalized'), verdict(2, 'finalized')])
  t.same(confirmed, [held[0]])
  t.same(gone, [held[1]], 'finalized while it runs: somebody gave it up')
  t.equal(slots.size, 0)
})

t.test('a run that is removed after its handle went to another one does not take that one along', async (t) => {
  const { slots, held } = holding(2)
  slots.reconcile([verdict(2, 'keep', 1)])
  slots.remove(held[0]!)
  t.equal(slots.get(1), held[1])
})

t.test('the order holds while runs come and go without end', async (t) => {
  const slots = new Slots(3)
  const started: string[] = []
  const running: ReturnType<Slots['add']>[] = []
  for (let run = 1; run <= 200; run++) {
    slots.add(leased(run, 'x'))
    if (run % 3 === 0) continue
    const next = slots.startNext()
    if (next) running.push(next)
    if (running.length < 3) continue
    for (const held of running.splice(0)) {
      started.push(held.assignment.run)
      slots.ended(held)
      slots.remove(held)
    }
  }
  t.same(started, started.map((_, index) => String(index + 1)))
  t.equal(slots.waiting().length + running.length + started.length, 200)
})
