import t from 'tap'
import { goWorkerSettings } from './worker-settings.js'
import { parseConfig } from './config-file.js'
import { durationMs, goFlags } from './flags.js'
import { isOfGoWorker } from './recognise.js'

const YAML = `# made by init
dsn: "postgres://u:p@localhost/a#b"   # the database
worker:
  worker_id: worker-1
  queues: [default, "mail, urgent"]
  allowed_task_modules:
    - shop.tasks.
    - 'it''s.tasks.'
  concurrency: 5
  exec_timeout: 1h
beat:
  interval: 45s
`
const TOML = `dsn = "postgres://localhost/app"
[worker]
queues = ["default", 'mail'] # both
concurrency = 5
`

t.test("Reproq's config files are read, in YAML and in TOML; what is neither is refused with its place", async (t) => {
  t.strictSame(parseConfig(YAML, 'reproq.yaml'), {
    dsn: 'postgres://u:p@localhost/a#b',
    'worker.worker_id': 'worker-1',
    'worker.queues': ['default', 'mail, urgent'],
    'worker.allowed_task_modules': ['shop.tasks.', "it's.tasks."],
    'worker.concurrency': '5',
    'worker.exec_timeout': '1h',
    'beat.interval': '45s',
  })
  t.strictSame(parseConfig(TOML, 'reproq.toml'), { dsn: 'postgres://localhost/app', 'worker.queues': ['default', 'mail'], 'worker.concurrency': '5' })
  t.strictSame(parseConfig('# nothing yet\n', 'reproq.yaml'), {})
  for (const [text, path, said] of [
    ['worker:\n  queues: [a', 'a.yaml', /line [23]/],
    ['dsn = "open', 'a.toml', /1:/],
    ['just words', 'a.yaml', /is string; it takes sections/],
  ] as const) {
    t.throws(() => parseConfig(text, path), { code: 'INVALID_CONFIG', message: said }, text)
  }
})

t.test('flags win over the environment, the environment over the file, the file over defaults', async (t) => {
  const { writeFileSync } = await import('node:fs')
  const path = `${t.testdir({})}/reproq.yaml`
  writeFileSync(path, YAML)
  t.match(goWorkerSettings(['--config', path], {}), { url: 'postgres://u:p@localhost/a#b', workerId: 'worker-1', queues: ['default', 'mail, urgent'], allow: ['shop.tasks.', "it's.tasks."], concurrency: 5, unheeded: [/exec_timeout/] })
  t.match(goWorkerSettings(['-config', path, '-concurrency=7', '--dsn', 'postgres://flag/app'], { QUEUE_NAMES: 'a, b', WORKER_ID: 'w' }), { url: 'postgres://flag/app', workerId: 'w', queues: ['a', 'b'], concurrency: 7 })
  t.match(goWorkerSettings(['--dsn', 'postgres://h/app'], {}), { queues: ['default'], allow: ['myapp.tasks.', 'tasks.'], concurrency: 10, leaseMs: undefined, executorModule: 'reproq_django.executor', payloadMode: 'stdin', unheeded: [] })
  t.throws(() => goWorkerSettings(['--dsn', 'postgres://h/app', '--concurrency', 'many'], {}), { code: 'INVALID_OPTION', message: /many/ })
})

t.test("flags are Go's", async (t) => {
  t.strictSame(goFlags('x', ['-id', '5', '--name=a=b', '-once', 'rest', '-id', '6'], ['id', 'name'], ['once']), { id: '5', name: 'a=b', once: 'true' })
  t.throws(() => goFlags('x', ['-nope'], ['id']), { code: 'INVALID_USAGE', message: /not defined: -nope/ })
  t.throws(() => goFlags('x', ['-id'], ['id']), { code: 'INVALID_USAGE', message: /needs an argument/ })
  t.strictSame(['30s', '1h30m', '100ms', '1.5s'].map((text) => durationMs('-interval', text)), [30_000, 5_400_000, 100, 1_500])
  t.throws(() => durationMs('-interval', '30'), { code: 'INVALID_OPTION' })
})

t.test('flags decide whose command is meant', async (t) => {
  const goes: [string, NodeJS.ProcessEnv][] = [['worker --dsn x', {}], ['worker -config=a.yaml --concurrency 5', {}], ['worker --allowed-task-modules a.', {}], ['beat', {}], ['replay --id 5', {}], ['limit ls', {}], ['prune expired', {}], ['triage list --dsn x', {}], ['triage retry -id 5', {}], ['triage list', { DATABASE_URL: 'x' }]]
  for (const [line, env] of goes) t.ok(isOfGoWorker(line.split(' '), env), line)
  const ours: [string, NodeJS.ProcessEnv][] = [['worker --python', {}], ['worker --url x --queues mail', {}], ['worker', {}], ['prune --over 7d', {}], ['triage list', {}], ['triage list', { DATABASE_URL: 'x', REPROQ_URL: 'y' }], ['triage retry 5', { REPROQ_URL: 'y' }], ['runs list', {}], ['--version', {}]]
  for (const [line, env] of ours) t.notOk(isOfGoWorker(line.split(' '), env), line)
})
