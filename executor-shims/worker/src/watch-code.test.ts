import t, { type Test } from 'tap'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Changes } from './changes.js'
import { watchCode } from './watch-code.js'

function watched(t: Test, files: Parameters<Test['testdir']>[0]) {
  const folder = t.testdir(files)
  const changed = new Set<string>()
  const changes = new Changes()
  const end = watchCode(folder, (file) => {
    changed.add(file.slice(folder.length + 1))
    changes.happened()
  })
  t.teardown(end)
  const write = (path: string, text = '1') => writeFileSync(join(folder, path), text)
  /** Waits until a change of that file was told. */
  const told = (path: string) => changes.until(() => changed.delete(path), 5_000)
  return { folder, changed, end, write, told }
}

t.test('code that changes, comes and goes is told of, at any depth', async (t) => {
  const { folder, write, told } = watched(t, { 'a.py': '', shop: { tasks: { 'b.ts': '' } } })
  write('a.py')
  t.ok(await told('a.py'))
  write('shop/tasks/b.ts')
  t.ok(await told('shop/tasks/b.ts'))
  write('shop/new.mjs')
  t.ok(await told('shop/new.mjs'))
  mkdirSync(join(folder, 'later/inner'), { recursive: true })
  write('later/inner/c.py')
  t.ok(await told('later/inner/c.py'))
  rmSync(join(folder, 'shop/tasks'), { recursive: true })
  t.ok(await told('shop/tasks/b.ts'))
})

t.test('what is installed, hidden or no code is not', async (t) => {
  const folders = { node_modules: { x: { 'x.js': '' } }, venv: { 'pyvenv.cfg': '', 'x.py': '' }, '.git': { 'x.py': '' }, __pycache__: { 'x.py': '' } }
  const { changed, write, told } = watched(t, { ...folders, 'a.py': '', 'notes.txt': '' })
  for (const path of ['node_modules/x/x.js', 'venv/x.py', '.git/x.py', '__pycache__/x.py', 'notes.txt']) write(path)
  write('a.py')
  t.ok(await told('a.py'), 'the others would have been told before')
  t.same([...changed], [])
})

t.test('after its end nothing is told', async (t) => {
  const first = watched(t, { 'a.py': '' })
  first.end()
  const second = watched(t, { 'a.py': '' })
  first.write('a.py')
  second.write('a.py')
  t.ok(await second.told('a.py'))
  t.same([...first.changed], [])
})
