import t from 'tap'
import { Ledger, type NewEntry } from './ledger.js'

const lease = (run: string, queue = 'a', state: NewEntry['state'] = 'sent'): NewEntry => ({ run, lease: `lease-${run}`, queue, task: 't', attempt: 1, maxAttempts: 3, state })
const freeOf = (ledger: Ledger) => ledger.freeLanes().map(({ free }) => free)

t.test('handles count up and are never used twice, also after a lease is gone', async (t) => {
  const ledger = new Ledger('w', 10)
  const [one, two] = [ledger.add(lease('1')), ledger.add(lease('2'))]
  ledger.remove(two)
  const three = ledger.add(lease('3'))
  t.strictSame([one.l, two.l, three.l], [1, 2, 3])
  t.equal(ledger.get(2), undefined)
  t.match(ledger.get(3), { run: '3', workerId: 'w', cancelRequested: false })
})

t.test('removing an old lease of a run leaves a newer one of it findable', async (t) => {
  const ledger = new Ledger('w', 10)
  const old = ledger.add(lease('1'))
  const young = ledger.add(lease('1'))
  ledger.remove(old)
  t.equal(ledger.ofRun('1'), young)
  ledger.remove(young)
  t.equal(ledger.ofRun('1'), undefined)
})

t.test('accept speaks for leases that were sent, and for no others', async (t) => {
  const ledger = new Ledger('w', 10)
  const sent = ledger.add(lease('1'))
  const settling = ledger.add(lease('2', 'a', 'settling'))
  ledger.accept([sent.l, settling.l, 99])
  t.equal(sent.state, 'accepted')
  t.equal(settling.state, 'settling', 'a late accept does not undo a result')
})

t.test('a lane has room for its window less what its queues hold, also while results are being stored', async (t) => {
  const ledger = new Ledger('w', 100)
  ledger.subscribe([{ queues: ['a'], window: 2 }, { queues: ['b', 'c'], window: 3 }], 1)
  t.strictSame(freeOf(ledger), [2, 3])
  ledger.add(lease('1', 'b'))
  const settling = ledger.add(lease('2', 'c', 'settling'))
  t.strictSame(freeOf(ledger), [2, 1])
  ledger.remove(settling)
  t.strictSame(freeOf(ledger), [2, 2])
  ledger.subscribe([{ queues: ['a'], window: 2 }, { queues: ['b', 'c'], window: 0 }], 2)
  t.strictSame(freeOf(ledger), [2, 0], 'a window below what is held is no room, and no debt')
})

t.test('a single lane counts every lease, also of queues it no longer has', async (t) => {
  const ledger = new Ledger('w', 100)
  ledger.subscribe([{ queues: ['a'], window: 2 }], 1)
  ledger.add(lease('1', 'gone'))
  t.strictSame(freeOf(ledger), [1])
})

t.test('all lanes together stay within the window of the session', async (t) => {
  const ledger = new Ledger('w', 5)
  ledger.subscribe([{ queues: ['a'], window: 4 }, { queues: ['b'], window: 4 }], 1)
  t.strictSame(freeOf(ledger), [4, 1])
  for (const run of ['1', '2', '3', '4', '5', '6']) ledger.add(lease(run, 'x'))
  t.strictSame(freeOf(ledger), [0, 0])
})

t.test('lanes of an older version change nothing, and once closed they stay closed', async (t) => {
  const ledger = new Ledger('w', 10)
  t.equal(ledger.subscribe([{ queues: ['a'], window: 1 }], 2), true)
  t.equal(ledger.subscribe([{ queues: ['b'], window: 9 }], 2), false)
  t.equal(ledger.subscribe([{ queues: ['b'], window: 9 }], 1), false)
  t.strictSame(ledger.freeLanes(), [{ queues: ['a'], free: 1 }])
  ledger.closeLanes()
  t.equal(ledger.subscribe([{ queues: ['a'], window: 1 }], Number.MAX_SAFE_INTEGER), false)
  t.strictSame(ledger.freeLanes(), [])
})

t.test('a lane whose window changes stays the same lane, so that what is on its way to it still counts', async (t) => {
  const ledger = new Ledger('w', 100)
  ledger.subscribe([{ queues: ['a'], window: 2 }, { queues: ['b', 'c'], window: 2 }], 1)
  const before = ledger.freeLanes()
  ledger.subscribe([{ queues: ['b', 'c'], window: 9 }, { queues: ['a', 'd'], window: 2 }], 2)
  const after = ledger.freeLanes()
  t.equal(after[0]?.queues, before[1]?.queues)
  t.not(after[1]?.queues, before[0]?.queues)
  t.strictSame(freeOf(ledger), [9, 2])
})

t.test('what a worker says it holds shows what it must stop and what it has forgotten', async (t) => {
  const ledger = new Ledger('w', 10)
  const accepted = ledger.add(lease('1', 'a', 'accepted'))
  const forgotten = ledger.add(lease('2', 'a', 'accepted'))
  ledger.add(lease('3'))
  ledger.add(lease('4', 'a', 'settling'))
  t.strictSame(ledger.compare([accepted.l, 77]), { lost: [77], forgotten: [forgotten] }, 'on its way, or being stored, is not forgotten')
})
