import t from 'tap'
import { join } from 'node:path'
import { python, pythonHome, withoutPython } from '../../executor-shims/worker/src/one-shot.test.given.js'
import { conform } from './executor.test.given.js'

const PYTHON = ['--cwd', join(pythonHome, 'tests'), '--env', `PYTHONPATH=${pythonHome}`]
const program = python ?? 'python3'

t.test('the Python executor keeps the contract in all of its modes', withoutPython, async (t) => {
  for (const [mode, checks] of [['one-shot', 28], ['loop', 22], ['zygote', 30]] as const) {
    const { complaints, passed, status } = await conform(['--mode', mode, ...PYTHON], [program, '-m', 'reproq_executor', ...(mode === 'one-shot' ? [] : [`--${mode}`])])
    t.same([status, complaints, passed], [0, [], checks], mode)
  }
})
