import t from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { executorsOf, interpreterOf, type ExecutorFlags } from './worker-executors.js'
import { splitCommand } from './split-command.js'

const flags: ExecutorFlags = { pythonModule: 'reproq_executor', payloadMode: 'stdin' }
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
  t.same(described, ['node: node run.js'])
  t.equal(executors[0]?.serves('shop.pay'), true)
  t.equal(executors[0]?.serves('other.pay'), false)
  const python = await executorsOf({ ...flags, python: '/usr/bin/python9' }, ignore)
  t.same(python.described, ['python: /usr/bin/python9 -m reproq_executor'])
  t.equal(python.executors[0]?.serves('tasks.pay'), true, 'by convention, when nothing is named')
})

t.test('a module of its own asks for Python too', async (t) => {
  const { described } = await executorsOf({ ...flags, pythonModule: 'reproq_django.executor' }, ignore)
  t.match(described[0], /python\d? -m reproq_django\.executor/)
})
