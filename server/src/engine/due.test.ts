import t from 'tap'
import { givenDatabase, givenRuns, placesOf, type Given } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import type { Db } from '../db/pool.js'
import { promote } from '../runs/promote.js'
import { Due } from './due.js'

function promotingOn(t: { teardown(end: () => void): unknown }, { db }: Given) {
  const woken: string[] = []
  const errors: unknown[] = []
  const gate = { queries: 0, after: async () => {} }
  const gated: Db = {
    query: async (statement, params) => {
      gate.queries++
      const rows = await db.query(statement, params)
      await gate.after()
      return rows
    },
  }
  const step = async () => {
    const { queues, ...left } = await promote(gated)
    woken.push(...queues)
    return left
  }
  const due = new Due(step, (error) => errors.push(error))
  t.teardown(() => due.stop())
  t.teardown(() => {
    if (errors.length > 0) throw errors[0]
  })
  return { due, woken, gate }
}

t.test('a timer set to the earliest run promotes it when it is due, without a look in between', async (t) => {
  const given = await givenDatabase(t)
  const { due, woken, gate } = promotingOn(t, given)
  await givenRuns(given.db, { queue: 'late', runAfterMs: Date.now() + 3_600_000 }, { queue: 'soon', runAfterMs: Date.now() + 300 })
  due.expect(3_600_000)
  due.expect(300)
  await until('promoted', () => woken.includes('soon'))
  t.ok(gate.queries <= 3, `${gate.queries} queries`)
  t.notOk(woken.includes('late'))
})

t.test('a run that was stored after the statement on its way had looked is found all the same', async (t) => {
  const given = await givenDatabase(t)
  const { due, woken, gate } = promotingOn(t, given)
  let id: string | undefined
  gate.after = async () => {
    gate.after = async () => {}
    ;[id] = await givenRuns(given.db, { queue: 'hinted', runAfterMs: Date.now() + 50 })
    // As the notification of a foreign insert does.
    void due.runOnce()
  }
  await due.runOnce()
  await until('promoted', () => woken.includes('hinted'), 3_000)
  t.strictSame(await placesOf(given.others, id as string), ['ready'])
})

t.test('a timer that fires during a statement is not forgotten, nor are those after it', async (t) => {
  const given = await givenDatabase(t)
  const { due, woken, gate } = promotingOn(t, given)
  gate.after = async () => {
    gate.after = async () => {}
    await givenRuns(given.db, { queue: 'short', runAfterMs: Date.now() + 400 })
    due.expect(400)
    // Longer than the timer: it fires while this statement has not been answered.
    await new Promise((resolve) => setTimeout(resolve, 600))
  }
  await due.runOnce()
  await until('the first', () => woken.includes('short'), 3_000)
  await givenRuns(given.db, { queue: 'next', runAfterMs: Date.now() + 100 })
  due.expect(100)
  await until('the next', () => woken.includes('next'), 3_000)
})

t.test('what is asked for just when a step ends is done; after a failure it waits, and it ends when stopped', async (t) => {
  let steps = 0
  let fails = false
  const errors: unknown[] = []
  const due: Due = new Due(
    async () => {
      steps++
      if (fails) throw new Error('away')
      return { more: false, nextMs: null }
    },
    (error) => errors.push(error),
    { againMs: 30 },
  )
  t.teardown(() => due.stop())
  await due.runOnce()
  t.equal(steps, 1)
  const first = due.runOnce()
  void first.then(() => due.runOnce())
  await until('the one that came late', () => steps === 3)
  fails = true
  await due.runOnce()
  t.equal(errors.length, 1)
  fails = false
  await until('it was tried again', () => steps === 5)
  await due.stop()
  due.expect(0)
  await due.runOnce()
  t.equal(steps, 5)
})
