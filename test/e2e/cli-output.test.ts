import { spawnSync } from 'node:child_process'
import t from 'tap'
import { aRun, scriptedBroker, type Reply } from '../../sdk-ts/src/scripted-broker.test.given.js'
import { relative } from '../../server/src/cli/output.js'
import { MAIN } from '../helpers/broker.js'
import { reproq, reproqJson } from '../helpers/cli.js'
import { emptyDatabase, testDatabase } from '../helpers/database.js'

t.beforeEach((t) => void t.testdir({}))

t.test('a listing is a table, JSON, lines of JSON, or ids; standard error stays empty', async (t) => {
  const { url, pool } = await testDatabase(t)
  const env = { REPROQ_DATABASE_URL: url }
  for (const name of ['web', 'mail']) t.match(await reproq(t, ['tokens', 'create', name], { env }), { code: 0, stdout: /^rq_/ })

  t.match(await reproq(t, ['tokens', 'create', 'month', '--ttl', '30d'], { env }), { code: 0 })
  t.match((await pool.query(`DELETE FROM reproq_tokens WHERE name = 'month' RETURNING expires_at > now() + interval '29 days' AND expires_at < now() + interval '31 days' AS is_right`)).rows, [{ is_right: true }])
  const table = await reproq(t, ['tokens', 'list'], { env })
  t.match(table, { code: 0, stderr: '' })
  t.match(table.stdout, /^NAME +SCOPES +CREATED +EXPIRES\nmail +enqueue read +\d{4}-\d\d-\d\dT\S+Z +never\nweb +enqueue read .*\n$/, 'ISO, because nobody looks')
  t.notMatch(table.stdout, /\u001b/, 'plain bytes')
  const rows = await reproqJson<{ name: string }[]>(t, ['tokens', 'list'], { env })
  t.match(rows, [{ name: 'mail', scopes: ['enqueue', 'read'], expires_at: null }, { name: 'web' }])
  const lines = (await reproq(t, ['tokens', 'list', '--output', 'jsonl'], { env })).stdout
  t.strictSame(lines.trimEnd().split('\n').map((line) => JSON.parse(line) as unknown), rows)
  t.equal((await reproq(t, ['tokens', 'list', '-o', 'id'], { env })).stdout, 'mail\nweb\n')
  const forced = await reproq(t, ['tokens', 'list', '--no-color'], { env: { ...env, FORCE_COLOR: '1' } })
  t.notMatch(forced.stdout, /\u001b/)
})

t.test('without a setting, the database is that of the reproq dev that runs in the folder', async (t) => {
  const { url } = await testDatabase(t)
  const state = (pid: number) => ({ '.reproq': { 'dev.json': JSON.stringify({ pid, url: 'http://127.0.0.1:1', token: 'x', database: url, python: false }) } })
  const cwd = t.testdir(state(process.pid))
  t.match(await reproq(t, ['tokens', 'list', '-o', 'json'], { cwd }), { code: 0, stdout: '[]\n', stderr: '· the database of the reproq dev of this folder\n' })
  t.match(await reproq(t, ['doctor', '-o', 'json'], { cwd, env: { REPROQ_URL: 'nonsense' } }), { stdout: /"check": "schema",\s+"state": "ok"/ })
  t.match(await reproq(t, ['tokens', 'list', '--database-url', 'postgres://127.0.0.1:1/x'], { cwd }), { code: 4, stderr: /^✖ .* as --database-url says/ })
  const gone = spawnSync(process.execPath, ['-e', '']).pid
  for (const pid of [0, gone]) t.match(await reproq(t, ['tokens', 'list'], { cwd: t.testdir(state(pid)) }), { code: 2, stderr: /No database: .* no reproq dev runs in this folder/ })
})

t.test('errors are for people, or JSON for programs; the exit code says which kind', async (t) => {
  const rows: [args: string[], code: number, stderr: RegExp][] = [
    [['tokenz'], 2, /INVALID_USAGE {2}Unknown command 'tokenz'\n {2}fix {2}Did you mean tokens\?/],
    [['tokenz', '--help'], 2, /Did you mean tokens\?/],
    [['start', '--help'], 2, /Unknown command 'start'\n {2}fix {2}reproq dev starts everything/],
    [['tokens', 'lst'], 2, /Did you mean list\?/],
    [['tokens', 'create', 'x', '--ttl', 'soon'], 2, /--ttl takes a time of at least a second; got "soon"/],
    [['run'], 2, /Missing required argument 'task'/],
    [['run', 'x', '{'], 2, /INVALID_JSON/],
    [['run', 'x', '--url', 'http://127.0.0.1:1'], 4, /BROKER_UNREACHABLE.*http:\/\/127.0.0.1:1/],
    [['tokens', 'create', 'x', '--scope', 'bogus'], 2, /"bogus" is no scope\n {2}fix {2}the scopes are enqueue, read, schedules, admin, work:queue:<name>/],
    [['runs', 'wait', '1', '--url', 'http://127.0.0.1:1'], 4, /^✖ BROKER_UNREACHABLE.*http:\/\/127.0.0.1:1/],
    [['runs', 'logs', '1', '-f', '--url', 'http://127.0.0.1:1'], 4, /^✖ BROKER_UNREACHABLE.*http:\/\/127.0.0.1:1/],
    [['tokens', 'list'], 2, /INVALID_SETTING {2}No database/],
    [['tokens', 'list', '--database-url', 'postgres://127.0.0.1:1/x'], 4, /No Postgres answers at 127.0.0.1:1/],
  ]
  for (const [args, code, stderr] of rows) t.match(await reproq(t, args), { code, stderr }, args.join(' '))
  const json = await reproq(t, ['tokens', 'list', '-o', 'json'])
  t.match(JSON.parse(json.stderr), { code: 'INVALID_SETTING', message: /No database/, hint: /REPROQ_DATABASE_URL/ })
  const { url } = await testDatabase(t)
  t.match(await reproq(t, ['tokens', 'revoke', 'nobody'], { env: { REPROQ_DATABASE_URL: url } }), { code: 3, stderr: /TOKEN_NOT_FOUND/ })
})

t.test('a broker that was there and goes away is told once, and waited for', async (t) => {
  const state = `event: state\ndata: ${JSON.stringify({ id: '7', status: 'RUNNING', attempts: 1 })}\n\n`
  const ended: Reply = { body: aRun({ status: 'SUCCESSFUL', output: 3 }) }
  const waited = await scriptedBroker(t, { body: aRun() }, 'hang up', ended)
  t.match(await reproq(t, ['runs', 'wait', '7', '--url', waited.url]), { code: 0, stdout: '3\n', stderr: `· no answer from ${waited.url}/, still trying\n` })

  const stream = (text: string): Reply => ({ headers: { 'content-type': 'text/event-stream' }, body: text })
  const followed = await scriptedBroker(t, { body: aRun() }, stream(state), 'hang up', 'hang up', stream('event: end\ndata: {}\n\n'))
  t.match(await reproq(t, ['runs', 'logs', '7', '-f', '--url', followed.url]), { code: 0, stderr: `· no answer from ${followed.url}/, still trying\n` })
})

t.test('for people the tracebacks of a run stand below it, line by line, and obey nobody; programs find them where they were', async (t) => {
  const error = { kind: 'app_error', class: 'Boom', message: 'no\nroom', at: null }
  const errors = [{ ...error, traceback: 'Boom: no\n    at one\u001b[2J (a.ts:1)\n    at two (b.ts:2)\n', attempt: 1 }, { ...error, traceback: null, attempt: 2 }, { ...error, traceback: 'last', attempt: null }]
  const failed: Reply = { body: aRun({ status: 'FAILED', errors }) }
  const { url } = await scriptedBroker(t, failed, failed, failed)
  for (const words of [['runs', 'get'], ['triage', 'inspect']]) {
    const { code, stdout } = await reproq(t, [...words, '7', '--url', url])
    t.equal(code, 0)
    t.ok(stdout.endsWith('\n\nattempt 1\nBoom: no\n    at one (a.ts:1)\n    at two (b.ts:2)\n\nerror 3\nlast\n'), stdout.slice(-200))
    t.notMatch(stdout, 'traceback')
  }
  t.match(await reproqJson(t, ['runs', 'get', '7', '--url', url]), { errors })
})

t.test('a reader that has seen enough is no error', async (t) => {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', `"${process.execPath}" "${MAIN}" config --explain | head -1`], { encoding: 'utf8' })
  t.match({ status, stdout, stderr }, { status: 0, stdout: /^REPROQ_HOST=.*\n$/, stderr: '' })
})

t.test('migrate says what it would do before it does it', async (t) => {
  const { url, pool } = await emptyDatabase(t)
  const env = { REPROQ_DATABASE_URL: url }
  const names = await reproq(t, ['migrate', '--dry-run'], { env })
  t.match(names, { code: 0, stdout: /^0001_baseline\n0002_leases\n/, stderr: '' })
  t.match((await reproq(t, ['migrate', '--plan'], { env })).stdout, /-- 0001_baseline\n[^]*CREATE TABLE IF NOT EXISTS task_runs[^]*-- 0002_leases\n/)
  t.strictSame((await pool.query(`SELECT relname FROM pg_class WHERE relname = 'task_runs'`)).rows, [], 'nothing was done')
  t.match(await reproq(t, ['migrate'], { env }), { code: 0, stdout: /applied: 0001_baseline/ })
  t.match(await reproq(t, ['migrate', '--dry-run'], { env }), { code: 0, stdout: '', stderr: /nothing to do/ })
  await pool.query(`INSERT INTO reproq_migrations (name, run_on) VALUES ('9999_later', now())`)
  t.match(await reproq(t, ['migrate', '--dry-run'], { env }), { code: 8, stderr: /SCHEMA_NEWER[^]*9999/ })
})

t.test('an instant beside now', async (t) => {
  t.strictSame([-500, -59_999, -61_000, -7_200_000, -200_000_000, 90_000].map(relative), ['0s ago', '59s ago', '1m ago', '2h ago', '2d ago', 'in 1m'])
})
