import t from 'tap'
import { spawnSync } from 'node:child_process'
import { pythonHome, withoutPython } from '../worker/src/one-shot.test.given.js'

t.test('the tests of the Python package pass with every Python there is', withoutPython, async (t) => {
  for (const program of ['python3', 'python3.9', 'python3.10', 'python3.11', 'python3.12', 'python3.13']) {
    if (spawnSync(program, ['--version']).status !== 0) continue
    const { status, stderr } = spawnSync(program, ['-B', '-m', 'unittest', 'discover', '-s', 'tests'], { cwd: pythonHome, encoding: 'utf8' })
    t.equal(status, 0, `${program}: ${stderr}`)
    t.match(stderr, /Ran \d\d+ tests/, program)
  }
})
