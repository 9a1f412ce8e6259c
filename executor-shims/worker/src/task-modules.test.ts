import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { matchingFiles } from './matching-files.js'
import { loadTasks } from './task-modules.js'

const sdk = new URL('../../../sdk-ts/src/define-task.js', import.meta.url).href
const commonJs = `const { defineTask } = require('${fileURLToPath(new URL('../../../cjs/sdk-ts/src/index.js', import.meta.url))}')`
const task = (name: string) => `export const it = defineTask({ name: '${name}', run() {} })`
const esm = (...lines: string[]) => [`import { defineTask } from '${sdk}'`, ...lines].join('\n')

/** A project folder; names of files to their text. */
function project(t: Test, files: Record<string, string>): string {
  const folder = t.testdir()
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  return folder
}

t.test('tasks are found in ESM, CommonJS and TypeScript, however they are exported', async (t) => {
  const folder = project(t, {
    // Without "type": "module", so that d.ts is CommonJS.
    'package.json': '{}',
    'tasks/a.mjs': esm(task('a'), `export default defineTask({ name: 'a.default', run() {} })`, 'export const other = 5'),
    'tasks/deep/b.mts': esm('interface Input { n: number }', `export const b = defineTask({ name: 'b', run: ({ input }: { input: Input }) => input.n })`),
    'tasks/c.cjs': `${commonJs}\nconst tasks = {}\ntasks['c'] = defineTask({ name: 'c', run() {} })\nmodule.exports = tasks`,
    'tasks/d.ts': `${commonJs}\nconst name: string = 'd'\nexports.d = defineTask({ name, run() {} })`,
  })

  const tasks = await loadTasks(['tasks/**/*.{mjs,cjs,mts,ts}'], folder)

  t.same(tasks.map(({ name }) => name).sort(), ['a', 'a.default', 'b', 'c', 'd'])
})

t.test('a task that two modules export is one task', async (t) => {
  const folder = project(t, { 'a.mjs': esm(task('a')), 'index.mjs': `export * from './a.mjs'` })

  t.equal((await loadTasks(['*.mjs'], folder)).length, 1)
})

t.test('two tasks of one name are refused with file and line of both, in TypeScript too', async (t) => {
  const folder = project(t, { 'package.json': '{"type":"module"}', 'tasks/mail.ts': esm('interface Unused {', '  a: 1', '}', task('email.send')), 'tasks/old/email.mjs': esm('', task('email.send')) })

  await t.rejects(loadTasks(['tasks/mail.ts', 'tasks/old/*.mjs'], folder), {
    code: 'INVALID_OPTION',
    message: `Task "email.send" is defined twice: ${join(folder, 'tasks/mail.ts')}:5 and ${join(folder, 'tasks/old/email.mjs')}:3`,
    hint: 'rename one of them, names are global',
  })
})

t.test('a file without a task is named', async (t) => {
  const folder = project(t, { 'empty.mjs': 'export const a = 1' })

  await t.rejects(loadTasks(['empty.mjs'], folder), { name: 'TaskModuleError', code: 'TASK_MODULE', message: `${join(folder, 'empty.mjs')} exports no task` })
})

t.test('a file that does not load is named with its line', async (t) => {
  const folder = project(t, {
    'package.json': '{"type":"module"}',
    'syntax.mjs': '\nconst a = ;',
    'syntax.cjs': '\n\nconst a = ;',
    'syntax.ts': 'const n: number = 1\nconst a: = ;',
    'name.mjs': `\nimport { nothing } from './other.mjs'`,
    'other.mjs': 'export const a = 1',
    'throws.mjs': '\n\n\nthrow new RangeError("at start")',
    'missing.mjs': `import './nowhere.mjs'`,
  })
  const cases = { 'syntax.mjs': [':2', /SyntaxError: Unexpected token/], 'syntax.cjs': [':3', /SyntaxError: Unexpected token/], 'syntax.ts': [':2', /SyntaxError: Unexpected/], 'name.mjs': [':2', /nothing/], 'throws.mjs': [':4', /RangeError: at start/], 'missing.mjs': ['', /nowhere/] } as const
  for (const [file, [line, reason]] of Object.entries(cases)) {
    const error = await loadTasks([file], folder).catch((error: unknown) => error as Error & { code: string })
    t.match(error, { code: 'TASK_MODULE', message: reason }, file)
    t.equal((error as Error).message.split(' does not load: ')[0], join(folder, file) + line)
  }
})

t.test('a pattern that matches nothing is quoted', async (t) => {
  await t.rejects(loadTasks(['tasks/*.ts'], project(t, {})), { code: 'TASK_MODULE', message: /No file matches "tasks\/\*\.ts"/ })
})

t.test('patterns match names, not more', async (t) => {
  const folder = project(t, Object.fromEntries(['a.ts', 'b.js', 'b.test.js', 'b.d.ts', 'notes.md', 'x/a.ts', 'x/y/ab.mjs', 'node_modules/m/a.ts', '.hidden/a.ts', 'x+(1)/a.ts'].map((path) => [path, ''])))
  const cases: [string, string[]][] = [
    ['*.ts', ['a.ts']],
    ['**/*.ts', ['a.ts', 'x+(1)/a.ts', 'x/a.ts']],
    ['**', ['a.ts', 'b.js', 'x+(1)/a.ts', 'x/a.ts', 'x/y/ab.mjs']],
    ['x/**/a*.{ts,mjs}', ['x/a.ts', 'x/y/ab.mjs']],
    ['x/*/?b.mjs', ['x/y/ab.mjs']],
    ['x+(1)/*.ts', ['x+(1)/a.ts']],
    ['?.js', ['b.js']],
    ['nowhere/*.ts', []],
  ]
  for (const [pattern, files] of cases) t.same(matchingFiles(pattern, folder), files.map((file) => join(folder, file)), pattern)
  t.same(matchingFiles(join(folder, 'x/*.ts'), '/'), [join(folder, 'x/a.ts')], 'an absolute pattern')
})
