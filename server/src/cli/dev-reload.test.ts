import t, { type Test } from 'tap'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Changes } from '../../../executor-shims/worker/src/changes.js'
import { reloadOnChange, type Reloads } from './dev-reload.js'

const BOUND_MS = 10_000

function given(t: Test, options: Partial<Reloads> = {}) {
  const folder = t.testdir({ tasks: { 'a.ts': '' }, dist: { tasks: { 'a.js': '' } }, build: { 'a.js': '' }, node_modules: { x: { 'x.js': '' } }, '.git': { 'x.js': '' } })
  const changes = new Changes()
  const reloaded: string[] = []
  const held: (() => void)[] = []
  const worker = { reload: () => new Promise<void>((resolve) => held.push(resolve)) }
  const onReloaded = (files: string[]) => {
    reloaded.push(...files)
    changes.happened()
    options.onReloaded?.(files)
  }
  const end = reloadOnChange(worker, { folder, tasks: ['tasks/*.ts'], onKept: () => t.fail('it was reloaded'), ...options, onReloaded })
  t.teardown(end)
  const poll = setInterval(() => changes.happened(), 20)
  t.teardown(() => clearInterval(poll))
  return {
    end,
    reloaded,
    held,
    write: (path: string) => writeFileSync(join(folder, path), '1'),
    begun: (count: number) => changes.until(() => held.length === count, BOUND_MS),
    told: (path: string) => changes.until(() => reloaded.includes(path), BOUND_MS),
  }
}

t.test('what a compiler wrote or somebody installed is no change of the code, unless the tasks are there', async (t) => {
  const sources = given(t)
  for (const path of ['dist/tasks/a.js', 'build/a.js', 'node_modules/x/x.js', '.git/x.js', 'tasks/a.ts']) sources.write(path)
  await sources.begun(1)
  sources.held[0]?.()
  t.ok(await sources.told('tasks/a.ts'))
  t.same(sources.reloaded, ['tasks/a.ts'])
  const built = given(t, { tasks: ['dist/tasks/*.js'] })
  built.write('dist/tasks/a.js')
  await built.begun(1)
  built.held[0]?.()
  t.ok(await built.told('dist/tasks/a.js'))
})

t.test('one reload at a time, and the next for what changed meanwhile', async (t) => {
  const { write, begun, held, told } = given(t)
  write('tasks/a.ts')
  t.ok(await begun(1))
  write('tasks/b.ts')
  held[0]?.()
  t.ok(await begun(2))
  held[1]?.()
  t.ok(await told('tasks/b.ts'))
})

t.test('a listener that throws is not the end of reloads', async (t) => {
  // In a process of its own, which may do as it likes about what nobody catches.
  const script = `import { writeFileSync } from 'node:fs'
    import { reloadOnChange } from ${JSON.stringify(new URL('dev-reload.js', import.meta.url).href)}
    const onReloaded = (files) => {
      if (files.includes('a.ts')) throw new Error('of the listener')
      process.exit(0)
    }
    reloadOnChange({ reload: async () => {} }, { folder: '.', tasks: [], onReloaded, onKept() {} })
    process.on('unhandledRejection', () => writeFileSync('b.ts', '1'))
    writeFileSync('a.ts', '1')`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd: t.testdir({}), timeout: BOUND_MS, encoding: 'utf8', env: { PATH: process.env.PATH } })
  t.equal(status, 0, stderr)
})

t.test('after its end nothing is told of a reload that was under way', async (t) => {
  const { write, begun, held, reloaded, end } = given(t)
  write('tasks/a.ts')
  t.ok(await begun(1))
  end()
  held[0]?.()
  await new Promise((resolve) => setImmediate(resolve))
  t.same(reloaded, [])
})
