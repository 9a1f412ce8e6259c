import t from 'tap'
import { testBroker } from '../helpers/broker.js'
import { reproq, reproqJson } from '../helpers/cli.js'

t.beforeEach((t) => void t.testdir({}))

t.test('tasks are known by the newest 10,000 runs, with how these stand', { timeout: 120_000 }, async (t) => {
  const own = await testBroker(t)
  const { pool } = own.database
  const insert = (task: string, queue: string, status: string, count: number) =>
    pool.query(`INSERT INTO task_runs (queue_name, spec_json, spec_hash, task_path, status, finished_at) SELECT $2, '{}', $1 || n || $3, $1, $3, CASE WHEN $3 <> 'READY' THEN now() END FROM generate_series(1, $4) n`, [task, queue, status, count])
  const env = { REPROQ_URL: own.url, REPROQ_TOKEN: own.token }
  t.strictSame(await reproqJson(t, ['tasks', 'list'], { env }), [])
  await insert('old', 'default', 'SUCCESSFUL', 1)
  await insert('mail.send', 'mail', 'SUCCESSFUL', 9_997)
  await insert('mail.send', 'bulk', 'FAILED', 2)
  await insert('hello', 'default', 'READY', 1)

  const rows = await reproqJson<object[]>(t, ['tasks', 'list'], { env })
  t.match(rows, [
    { name: 'hello', runs: 1, ready: 1, running: 0, successful: 0, failed: 0, queues: ['default'], last_enqueued_at: /^\d{4}-/ },
    { name: 'mail.send', runs: 9_999, ready: 0, successful: 9_997, failed: 2, queues: ['bulk', 'mail'] },
  ])
  t.equal(rows.length, 2, 'and not further back')
  t.equal((await reproq(t, ['tasks', 'list', '-o', 'id'], { env })).stdout, 'hello\nmail.send\n')
  t.match(await reproqJson(t, ['tasks', 'get', 'hello'], { env }), { name: 'hello', ready: 1 })
  t.match(await reproq(t, ['tasks', 'get', 'helo'], { env }), { code: 3, stdout: '', stderr: /TASK_NOT_FOUND.*"helo"\n.*hello, mail\.send/ })
  t.match(await reproq(t, ['tasks', '--help']), { code: 0, stdout: /list.*\n.*get/ })
})
