import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess } from '../helpers/broker.js'
import { allSucceededOnce, givenAudited, startedMoreThanOnce, unfinished } from '../helpers/ledger.js'
import { work } from '../helpers/ledger-tasks.js'
import { plainProducer, producer } from '../helpers/producer.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const KNOBS = { heartbeatMs: 400, leaseMs: 12_000, safetyMs: 1_000, reconnectMs: 8_000 }

t.test('kill -9 of the broker three times under load: what runs goes on, results are sent again, nothing is lost, started or ended twice', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  let broker = await brokerProcess(t, database.url, KNOBS)
  const { url } = broker
  const port = Number(new URL(url).port)
  const workers = await Promise.all(['one', 'two'].map((name) => workerProcess(t, { urls: url, token, name, concurrency: 4, env: ledger.env })))
  const reproq = new Reproq({ url, token })
  const load = producer(t, reproq, (n) => ({ input: { ms: 20 + (n % 5) * 20 } }))
  const plain = plainProducer(t, reproq, (n) => ({ input: { ms: 20 + (n % 5) * 20 } }))
  const pauses: number[] = []

  for (let round = 1; round <= 3; round++) {
    const [long] = await reproq.enqueueMany(work, [{ input: { ms: 2_500 }, priority: 100 }])
    if (!long) throw new Error('not enqueued')
    await until('the long one runs', () => ledger.startsOf(long.id).length === 1)
    const before = [load.acknowledged.size, plain.acknowledged.size] as const
    await until('the load goes on', () => load.acknowledged.size > before[0] + 20 && plain.acknowledged.size > before[1] + 20)

    broker.child.kill('SIGKILL')
    await broker.exited
    const killedAt = performance.now()
    const { rows: running } = await database.pool.query<{ run: string }>(`SELECT result_id::text AS run FROM task_runs WHERE status = 'RUNNING'`)
    t.ok(running.length > 1, `round ${round}: ${running.length} runs were leased when it was killed`)
    await until('some of them end while nobody is there', () => running.some(({ run }) => workers.some((worker) => worker.settled(run))))
    broker = await brokerProcess(t, database.url, { ...KNOBS, port })
    await until('both workers are back', () => workers.every((worker) => worker.connections() === round + 1), KNOBS.reconnectMs)
    pauses.push(Math.round(performance.now() - killedAt))
    t.match(await long.result({ timeout: '10s' }), { attempt: 1 }, 'the long one ended in the attempt it was in')
  }

  const [{ keys, acknowledged }, keyless] = await Promise.all([load.stop(), plain.stop()])
  await until('all is done', async () => (await unfinished(database)) === 0, 20_000)
  const rows = await allSucceededOnce(t, database, ledger)
  const without = rows.length - keys - 3
  t.ok(without >= keyless.acknowledged.size && without <= keyless.acknowledged.size + keyless.unanswered, `one run for each key, however often it was asked for, and ${without} without: all ${keyless.acknowledged.size} that were answered, and no more than were asked for (${keyless.unanswered} had no answer)`)
  t.strictSame([...acknowledged, ...keyless.acknowledged].filter((id) => !rows.some(({ run }) => run === id)), [], 'every acknowledged enqueue is there')
  t.strictSame([...startedMoreThanOnce(ledger)], [], 'no run was started twice')
  t.strictSame(rows.filter(({ attempts, kinds }) => attempts !== 1 || kinds.length > 0), [], 'and no attempt was used up')
  t.comment(`away for ${pauses.join(', ')} ms with ${rows.length} runs`)
})
