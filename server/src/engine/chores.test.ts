import t from 'tap'
import { givenDatabase, givenForeignRun, givenLeased, givenSession, misplaced, rowOf, statusOf } from '../../../test/helpers/given.js'
import { loadConfig } from '../config.js'
import { Events } from '../events.js'
import { cancel } from '../runs/cancel.js'
import type { Leased } from '../runs/lease.js'
import { chores, releaseLongStray, releaseStray, type ChoreContext } from './chores.js'
import { Settle } from './settle.js'

/** Chores of a broker whose links hold `held`; what they were told is in `said`. */
function choresOf(db: ChoreContext['pool'], held: Leased[], sessions: { sessionId: string; conn: number }[], flying: string[] = []) {
  const said: string[] = []
  const settle = new Settle(db, new Events(), { retry: { baseMs: 0, capMs: 0, jitter: 0 }, outputBytes: 1_000 })
  const told = new Set<string>()
  const context: Pick<ChoreContext, 'config' | 'pool' | 'settle' | 'holdings'> & { log: { warn(): void }; dispatch: { isFlying(lease: string): boolean } } = {
    dispatch: { isFlying: (lease) => flying.includes(lease) },
    config: loadConfig({}, {}),
    pool: db,
    settle,
    log: { warn() {} },
    holdings: {
      sessions: () => sessions,
      runs: () => held.map(({ run }) => run),
      find: (run) =>
        held.some((lease) => lease.run === run)
          ? {
              run,
              told: told.has(run),
              cancel: (mode, reason) => {
                said.push(`${run} ${mode} ${reason}`)
                if (mode === 'hard') told.add(run)
              },
              giveUp: async () => {
                said.push(`${run} given up`)
              },
            }
          : undefined,
    },
  }
  const chore = (name: string) => chores(context as unknown as ChoreContext).find((one) => one.name === name)?.runOnce ?? (() => Promise.reject(new Error(`there is no chore ${name}`)))
  return { said, watch: chore('watch'), context: context as unknown as ChoreContext }
}

t.test('a run past its limit is stopped hard, and given up when that is not answered', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const [late, fine] = [await givenLeased(db, session, { timeoutSeconds: 1 }), await givenLeased(db, session)]
  const { said, watch } = choresOf(db, [late, fine], [session])
  await watch()
  t.strictSame(said, [])
  await others.query(`UPDATE task_runs SET last_attempted_at = now() - interval '10 s'`)
  await watch()
  await watch()
  t.strictSame(said, [`${late.run} hard timeout`, `${late.run} given up`])
})

t.test('a wish to cancel that no notification brought is passed on, and does not shield the run from its limit', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const wished = await givenLeased(db, session, { timeoutSeconds: 1 })
  await cancel(db, [wished.run])
  const { said, watch } = choresOf(db, [wished], [session])
  await watch()
  await others.query(`UPDATE task_runs SET last_attempted_at = now() - interval '10 s'`)
  await watch()
  await watch()
  t.strictSame(said, [`${wished.run} soft cancelled`, `${wished.run} hard timeout`, `${wished.run} given up`])
})

t.test('leases that the database has and no link knows are given back, uncounted', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const [known, unknown, elsewhere] = [await givenLeased(db, session), await givenLeased(db, session), await givenLeased(db, await givenSession(db, 'other broker'))]
  await releaseStray(choresOf(db, [known], [session]).context)
  t.match(await rowOf(others, unknown.run), { status: 'READY', attempts: 0 })
  t.equal(await statusOf(others, known.run), 'RUNNING')
  t.equal(await statusOf(others, elsewhere.run), 'RUNNING')
  t.strictSame(await misplaced(others), [])
})

t.test('without a known failure a lease is given back only when it was stray at two looks', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const stray = await givenLeased(db, session)
  const { context } = choresOf(db, [], [session])
  const suspects = new Set<string>()

  await releaseLongStray(context, suspects)
  t.equal(await statusOf(others, stray.run), 'RUNNING', 'it may be on its way')
  await releaseLongStray(context, suspects)
  t.equal(await statusOf(others, stray.run), 'READY')
})

t.test('a lease that may be on its way is not stray, nor one of a session that speaks through a newer connection', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const lease = await givenLeased(db, session)
  await releaseStray(choresOf(db, [], [session], [lease.lease]).context)
  t.equal(await statusOf(others, lease.run), 'RUNNING', 'on its way')
  await releaseStray(choresOf(db, [], [{ ...session, conn: session.conn - 1 }]).context)
  t.equal(await statusOf(others, lease.run), 'RUNNING', 'its worker has moved to another broker, which knows it')
  await releaseStray(choresOf(db, [], [session]).context)
  t.equal(await statusOf(others, lease.run), 'READY')
})

t.test('what a worker of somebody else left RUNNING is taken back, and everybody is told', async (t) => {
  const { db, others } = await givenDatabase(t)
  const id = await givenForeignRun(others, { status: 'RUNNING', leased_by: 'go-1', attempts: 1, leased_until: '2020-01-01Z', lock_key: 'k' })
  const { context } = choresOf(db, [], [])
  const events = new Events()
  const heard: unknown[] = []
  events.on('run.settled', ({ runId, status, cause, workerId }) => heard.push([runId, status, cause, workerId]))
  events.on('keys.freed', () => heard.push('keys.freed'))
  const logged: unknown[] = []
  const log = { info: (fields: unknown) => logged.push(fields) }
  const reclaimWhenHealthyFor = (healthyMs: number) =>
    chores({ ...context, pool: { healthyMs, query: db.query.bind(db) }, events, log } as unknown as ChoreContext).find(({ name }) => name === 'reclaim')?.runOnce()
  await reclaimWhenHealthyFor(context.config.reconnectMs + 59_999)
  t.equal(await statusOf(others, id), 'RUNNING', 'after an outage its worker may not have come to say that it lives')
  await reclaimWhenHealthyFor(context.config.reconnectMs + 60_000)
  t.strictSame(heard, [[id, 'READY', 'lease_expiry', 'go-1'], 'keys.freed'])
  t.strictSame(logged, [{ count: 1 }])
  t.strictSame(await misplaced(others), [])
})
