import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { misplaced } from '../helpers/given.js'
import { work } from '../helpers/ledger-tasks.js'
import { testLedger, unfinished } from '../helpers/ledger.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const ENOUGH = 400

t.test('brokers and a worker are killed: equal runs are never active twice, and nothing starts after it has expired', async (t) => {
  const database = await testDatabase(t)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const knobs = { reconnectMs: 1_500, leaseMs: 3_000 }
  const [lasting, one, two] = await Promise.all([brokerProcess(t, database.url, knobs), brokerProcess(t, database.url, knobs), brokerProcess(t, database.url, knobs)])
  const urls = [one.url, two.url, lasting.url]
  const options = { token, env: ledger.env, concurrency: 4 }
  const [victim] = await Promise.all([workerProcess(t, { ...options, urls: urls.toReversed(), name: 'victim' }), workerProcess(t, { ...options, urls, name: 'steady' })])

  const done = new AbortController()
  let answers = 0
  let merged = 0
  const producers = urls.map(async (url, at) => {
    const reproq = new Reproq({ url, token })
    for (let n = at; !done.signal.aborted; n++) {
      const equal = n % 2 === 0
      const asked = equal
        ? reproq.enqueue(work, { ms: 20 + (n % 6) }, { deduplicate: true })
        : reproq.enqueue(work, { ms: 40 }, { expiresIn: `${100 + (n % 5) * 40}ms` })
      try {
        if ((await asked).deduplicated) merged++
        answers++
      } catch {
        // Of a broker that was killed no more is asked; the others go on.
        if (url !== lasting.url) return
      }
    }
  })

  const twice: unknown[] = []
  let looks = 0
  const watch = (async () => {
    while (!done.signal.aborted) {
      const { rows } = await database.pool.query(`SELECT spec_hash, count(*)::int FROM task_runs WHERE status IN ('WAITING', 'READY', 'RUNNING') AND expires_at IS NULL GROUP BY 1 HAVING count(*) > 1`)
      twice.push(...rows)
      looks++
    }
  })()
  const answered = (count: number) => until(`${count} answers`, () => answers > count, 30_000)
  await answered(ENOUGH / 4)
  one.child.kill('SIGKILL')
  await answered(ENOUGH / 2)
  victim.kill('SIGKILL')
  await answered((ENOUGH * 3) / 4)
  two.child.kill('SIGKILL')
  await answered(ENOUGH)
  done.abort()
  await Promise.all([...producers, watch])
  await until('all is over', async () => (await unfinished(database)) === 0, 60_000)

  const { rows } = await database.pool.query<{ late: number; expired: number; expiring: number; unexplained: number }>(`
    SELECT count(*) FILTER (WHERE last_attempted_at > expires_at)::int AS late, count(*) FILTER (WHERE errors_json->-1->>'kind' = 'expired')::int AS expired,
           count(*)::int AS expiring, count(*) FILTER (WHERE status = 'CANCELLED' AND errors_json->-1->>'kind' IS DISTINCT FROM 'expired')::int AS unexplained
      FROM task_runs WHERE expires_at IS NOT NULL`)
  t.comment(`${answers} answers, ${merged} of them another run's, ${looks} looks; of ${rows[0]?.expiring} with an expiry ${rows[0]?.expired} came too late`)
  t.strictSame(twice, [], 'never two of a kind')
  t.match(rows[0], { late: 0, unexplained: 0 })
  t.ok(merged > 20 && looks > 50 && (rows[0]?.expired ?? 0) > 0, 'it was tried')
  t.strictSame(await misplaced(database.pool), [])
})
