import t from 'tap'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { python, pythonHome, withoutPython } from '../../executor-shims/worker/src/one-shot.test.given.js'
import { conform } from './executor.test.given.js'

const PYTHON = ['--cwd', join(pythonHome, 'tests'), '--env', `PYTHONPATH=${pythonHome}`]
const NODE = ['shim.js', 'conformance.test.given.js'].map((file) => fileURLToPath(new URL(`../../executor-shims/node/${file}`, import.meta.url)))
const program = python ?? 'python3'

t.test('the Node executor keeps the contract too, and needs the descriptor', async (t) => {
  const without = ['--without', 'progress_twice,last_checkpoint']
  const oneShot = await conform(without, [process.execPath, ...NODE])
  t.match(oneShot, { status: 0, passed: 25, complaints: [/^warn RQ-EXEC-012 not even when no descriptor is offered/] })
  t.match(await conform(['--mode', 'loop', ...without], [process.execPath, ...NODE, '--loop']), { status: 0, passed: 20, complaints: [] })
})

t.test('an executor that does not keep it is told what, by requirement', withoutPython, async (t) => {
  const simple = await conform(['--level', 'core', '--patience', '1000'], ['sh', '-c', 'cat > /dev/null; echo \'{"ok":true,"return":1}\' >&3'])
  t.equal(simple.status, 1)
  for (const id of ['RQ-EXEC-001', 'RQ-EXEC-002', 'RQ-EXEC-010', 'RQ-EXEC-020', 'RQ-EXEC-031']) t.ok(simple.complaints.some((text) => text.startsWith(`fail ${id}`)), id)
  const twice = await conform(['--mode', 'loop', '--level', 'core', '--patience', '2000', '--without', 'exit,fail', ...PYTHON], [program, 'raw_loop.py', 'twice'])
  t.match(twice, { status: 1 })
  t.ok(twice.complaints.some((text) => text.startsWith('fail RQ-LOOP-010 each is answered once')))
  const silent = await conform(['--mode', 'loop', '--level', 'core', '--patience', '2000', '--without', 'exit,fail,echo', ...PYTHON], [program, 'raw_loop.py', 'broken'])
  t.match(silent, { status: 1, passed: 0, complaints: [/^fail RQ-LOOP-003 .*no module named shop/s] })
})

t.test('what is no command is explained', async (t) => {
  for (const [args, command] of [[[], []], [['--mode', 'warm'], ['x']], [['--nonsense'], ['x']]] as const) t.match(await conform([...args], command), { status: 2, stderr: /^Usage: / })
})
