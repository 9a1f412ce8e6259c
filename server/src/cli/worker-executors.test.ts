import t from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { interpreterOf } from './python.js'
import { executorsOf, type ExecutorFlags } from './worker-executors.js'
import { splitCommand } from './split-command.js'

const flags: ExecutorFlags = { pythonModule: 'reproq_executor', concurrency: 1 }
const ignore = () => {}

function program(path: string): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, '')
  return path
}

t.test('the interpreter: the active environment, then .venv, then venv, then the one of the system', async (t) => {
  const folder = t.testdir()
  t.equal(interpreterOf(folder, undefined), 'python3')
  t.equal(interpreterOf(folder, ''), 'python3')
  const venv = program(join(folder, 'venv/bin/python'))
  t.equal(interpreterOf(folder, undefined), venv)
  const dotVenv = program(join(folder, '.venv/bin/python'))
  t.equal(interpreterOf(folder, undefined), dotVenv)
  const active = program(join(folder, 'elsewhere/bin/python'))
  t.equal(interpreterOf(folder, join(folder, 'elsewhere')), active)
  t.equal(interpreterOf(folder, join(folder, 'deleted')), dotVenv, 'an active environment that is gone')
})

t.test('a command line is split as a shell would', async (t) => {
  const expected: [line: string, words: string[]][] = [
    ['node run.js', ['node', 'run.js']],
    ['  a   b ', ['a', 'b']],
    [`sh -c 'echo "x y"'`, ['sh', '-c', 'echo "x y"']],
    [String.raw`"/opt/my tools/run" --name="a \"b\"" c\ d`, ['/opt/my tools/run', '--name=a "b"', 'c d']],
    [`a '' b`, ['a', '', 'b']],
    [String.raw`x "C:\dir"`, ['x', String.raw`C:\dir`]],
  ]
  for (const [line, words] of expected) t.same(splitCommand(line), words, line)
  t.throws(() => splitCommand('a "b'), { code: 'INVALID_OPTION', message: /quote/ })
  t.throws(() => splitCommand('  '), { code: 'INVALID_OPTION', message: /empty/ })
})

t.test('flags that name nothing to run, or two programs for the same tasks, are refused', async (t) => {
  await t.rejects(executorsOf(flags, ignore), { code: 'INVALID_OPTION', hint: /--tasks/ })
  await t.rejects(executorsOf({ ...flags, python: true, executor: 'x' }, ignore), { code: 'INVALID_OPTION', message: /--python and --executor/ })
})

t.test('an executor runs what the allow-list names', async (t) => {
  const { executors, described } = await executorsOf({ ...flags, executor: 'node run.js', allowTasks: ['shop.'] }, ignore)
  t.same(described, ['node (one-shot): node run.js'])
  t.equal(executors[0]?.serves('shop.pay'), true)
  t.equal(executors[0]?.serves('other.pay'), false)
  const python = await executorsOf({ ...flags, python: '/usr/bin/python9' }, ignore)
  t.same(python.described, ['python (loop): /usr/bin/python9 -m reproq_executor --loop'])
  t.equal(python.executors[0]?.serves('tasks.pay'), true, 'by convention, when nothing is named')
})

t.test('Python is warm where that is known to work, and otherwise as it was asked for', async (t) => {
  const described = async (more: Partial<ExecutorFlags>) => (await executorsOf({ ...flags, python: 'py', ...more }, ignore)).described[0]
  t.equal(await described({ pythonMode: 'one-shot' }), 'python (one-shot): py -m reproq_executor')
  t.equal(await described({ pythonMode: 'zygote', allowTasks: ['shop.tasks.', '*'] }), 'python (zygote): py -m reproq_executor --zygote --try-preload shop.tasks')
  t.equal(await described({ pythonModule: 'reproq_django.executor' }), 'python (zygote): py -m reproq_executor --zygote --module reproq_django.executor')
  t.equal(await described({ pythonModule: 'my.executor' }), 'python (one-shot): py -m my.executor')
  t.match((await executorsOf({ ...flags, pythonModule: 'my.executor' }, ignore)).described[0], /python\d? -m my\.executor/, 'a module of its own asks for Python too')
  await t.rejects(described({ pythonModule: 'my.executor', pythonMode: 'loop' }), { code: 'INVALID_OPTION', message: /no loop/ })
})
