import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { findPython, newEnvironment, pipInstall, ROOT, unreachable } from './python.js'

const run = promisify(execFile)
const python = findPython(9)

t.test('pip installs the Python executor, it needs no other package, and it runs', { skip: python ? false : 'there is no Python 3.9 or newer with venv' }, async (t) => {
  const folder = t.testdir()
  const source = join(folder, 'source')
  // A build may leave files beside the sources.
  cpSync(join(ROOT, 'executor-shims/python'), source, { recursive: true })
  const interpreter = await newEnvironment(python!, join(folder, 'environment'))
  try {
    await pipInstall(interpreter, [source])
  } catch (error) {
    const reason = unreachable(error)
    if (reason) return t.pass('installed', { skip: `${reason}, and pip takes the builder of the package from there` })
    throw error
  }

  const { stdout: listed } = await run(interpreter, ['-m', 'pip', 'list', '--format', 'json', '--disable-pip-version-check'])
  const names = (JSON.parse(listed) as { name: string }[]).map(({ name }) => name)
  t.strictSame(names.filter((name) => !['pip', 'setuptools'].includes(name)), ['reproq-executor'])

  const project = join(folder, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'tasks.py'), 'def add(a, b):\n    print("adding")\n    return a + b\n')
  const { stdout, stderr } = await run(interpreter, ['-m', 'reproq_executor', '--payload-json', '{"task_path":"tasks.add","args":[1,2]}'], { cwd: project })
  t.strictSame(JSON.parse(stdout), { ok: true, return: 3 })
  t.equal(stderr, 'adding\n')
  const where = await run(interpreter, ['-c', 'import reproq_executor, pathlib; p = pathlib.Path(reproq_executor.__file__).parent; print(p.parent.name, (p / "py.typed").exists())'], { cwd: project })
  t.equal(where.stdout.trim(), 'site-packages True', 'the installed copy, and it says that it is typed')
})
