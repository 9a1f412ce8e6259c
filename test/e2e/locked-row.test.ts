import t from 'tap'
import { remoteTask } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'

const task = remoteTask<{ args: unknown[] }, unknown>('t.echo')

t.test('a run that somebody holds locked keeps only its own result waiting, and it is taken when the lock is gone', async (t) => {
  const { reproq, url, token, database } = await testBroker(t, { heartbeatMs: 60_000, leaseMs: 600_000 })
  const worker = await ScriptedWorker.hello(t, url, token)
  const runs = await reproq.enqueueMany(task, Array.from({ length: 8 }, () => ({ input: { args: [] } })))
  const { items } = await worker.next('runs')
  const results = items.map(({ l }) => ({ l, outcome: 'ok', output: '1' }))

  const somebody = await database.pool.connect()
  await somebody.query('BEGIN')
  await somebody.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [runs[3]?.id])
  worker.send({ t: 'result', items: results })
  const locked = items.find(({ run }) => run === runs[3]?.id)
  t.equal((await worker.next('result_ok', 15_000)).items.length, 7)
  t.match((await worker.next('result_no')).items, [{ l: locked?.l, code: 'temporary' }])

  await somebody.query('COMMIT')
  somebody.release()
  worker.send({ t: 'result', items: [{ l: locked?.l, outcome: 'ok', output: '1' }] })
  t.match((await worker.next('result_ok')).items, [{ l: locked?.l, disp: 'finalized' }])
})
