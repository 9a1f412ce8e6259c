import t from 'tap'
import { givenDatabase, newRunOf } from '../../../test/helpers/given.js'
import { BrokerError } from '../errors.js'
import { enqueue, type Placed } from '../runs/enqueue.js'
import type { NewRun } from '../runs/spec.js'
import { GroupCommit, isData } from './group-commit.js'

/** Statements that end when the test says so. */
function held<Item>() {
  const batches: { items: Item[]; end: () => void; fail: (error: unknown) => void }[] = []
  let next = () => {}
  const run = (items: Item[]) =>
    new Promise<Item[]>((resolve, reject) => {
      batches.push({ items, end: () => resolve(items), fail: reject })
      next()
    })
  const started = async (count: number) => {
    while (batches.length < count) await new Promise<void>((resolve) => (next = resolve))
    return batches[count - 1] as (typeof batches)[number]
  }
  return { batches, run, started }
}

const refused = (state: string) => new BrokerError('DATABASE_REFUSED', state, { cause: Object.assign(new Error(state), { code: state }) })

t.test('what arrives in one turn shares a statement, and what arrives while it is on its way shares the next', async (t) => {
  const { batches, run, started } = held<number>()
  const group = new GroupCommit(run, { limit: 100 })
  const first = [group.add(1), group.add(2)]
  const one = await started(1)
  const second = [group.add(3), group.add(4), group.add(5)]
  t.equal(batches.length, 1, 'one statement at a time')
  one.end()
  const two = await started(2)
  two.end()
  t.strictSame(await Promise.all([...first, ...second]), [1, 2, 3, 4, 5], 'everyone has their own answer')
  t.strictSame(batches.map(({ items }) => items), [[1, 2], [3, 4, 5]])
})

t.test('after a pause the next item is not left waiting', async (t) => {
  const { run, started } = held<number>()
  const group = new GroupCommit(run, { limit: 100 })
  const first = group.add(1)
  ;(await started(1)).end()
  await first
  const second = group.add(2)
  ;(await started(2)).end()
  t.equal(await second, 2)
})

t.test('a statement holds at most its limit, by weight; a single item above it goes alone', async (t) => {
  const sizes: number[][] = []
  const group = new GroupCommit<number, number>(async (items) => (sizes.push(items), items), { limit: 10, weight: (item) => item })
  await Promise.all([4, 6, 1, 50, 3, 3].map((item) => group.add(item)))
  t.strictSame(sizes, [[4, 6], [1], [50], [3, 3]])
})

t.test('a bad item fails alone, with its own error, though it travelled with others; each good one is stored once', async (t) => {
  const { db, others } = await givenDatabase(t)
  const group = new GroupCommit<NewRun, Placed>((runs) => enqueue(db, runs), { limit: 100 })
  const runs = Array.from({ length: 17 }, (_, at) => newRunOf({ task: `t${at}`, spec: at === 5 ? '"\\u0000"' : at === 11 ? 'no json' : '{}' }))
  const results = await Promise.allSettled(runs.map((run) => group.add(run)))

  t.strictSame(results.flatMap(({ status }, at) => (status === 'rejected' ? [at] : [])), [5, 11])
  t.match((results[5] as PromiseRejectedResult).reason, { cause: { code: '22P05' } })
  t.match((results[11] as PromiseRejectedResult).reason, { cause: { code: '22P02' } })
  const { rows } = await others.query<{ task_path: string }>('SELECT task_path FROM task_runs ORDER BY result_id')
  t.strictSame(rows.map((row) => row.task_path), runs.map(({ task }) => task).filter((_, at) => at !== 5 && at !== 11))
})

t.test('a deadlock is tried again once, and everyone gets the answer of the second statement', async (t) => {
  const { batches, run, started } = held<number>()
  const group = new GroupCommit(run, { limit: 100 })
  const answers = Promise.all([group.add(1), group.add(2)])
  ;(await started(1)).fail(refused('40P01'))
  ;(await started(2)).end()
  t.strictSame(await answers, [1, 2])

  const failing = Promise.allSettled([group.add(3)])
  ;(await started(3)).fail(refused('40P01'))
  ;(await started(4)).fail(refused('40P01'))
  t.match(await failing, [{ status: 'rejected', reason: { cause: { code: '40P01' } } }], 'but not for ever')
  t.equal(batches.length, 4)
})

t.test('a database that is away fails everyone at once: nothing is halved or sent again', async (t) => {
  const { batches, run, started } = held<number>()
  const group = new GroupCommit(run, { limit: 100 })
  const results = Promise.allSettled([group.add(1), group.add(2), group.add(3)])
  ;(await started(1)).fail(new BrokerError('DATABASE_UNAVAILABLE', 'gone', { cause: new Error('Connection terminated unexpectedly') }))
  t.strictSame((await results).map(({ status }) => status), ['rejected', 'rejected', 'rejected'])
  t.equal(batches.length, 1)

  const after = group.add(4)
  ;(await started(2)).end()
  t.equal(await after, 4, 'and the next statement is tried as usual')
})

t.test('a `before` that rejects holds up nobody', async (t) => {
  let failures = 2
  const sizes: number[] = []
  const group = new GroupCommit<number, number>(async (items) => (sizes.push(items.length), items), {
    limit: 100,
    before: async () => {
      if (failures-- > 0) throw new Error('not now')
    },
  })
  // Unhandled, the rejection would fail this file; with the group left busy, these would never be answered.
  t.strictSame(await Promise.all([group.add(1), group.add(2)]), [1, 2], 'the batch goes on')
  t.equal(group.isBusy, false)
  t.equal(await group.add(3), 3, 'and so does the next')
  t.equal(await group.add(4), 4)
  t.strictSame(sizes, [2, 1, 1])
})

t.test('only SQLSTATEs that blame the data count as the item\'s fault', async (t) => {
  for (const state of ['21000', '22P02', '22P05', '22003', '23505', '54000']) t.ok(isData(state), state)
  for (const state of ['40P01', '40001', '57014', '53300', '08006', '42P01', '25006', 'EPIPE', 'XX000']) t.notOk(isData(state), state)
})
