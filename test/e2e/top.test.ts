import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { MAIN, testBroker } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'

t.beforeEach((t) => void t.testdir({}))
const noPython = spawnSync('python3', ['-c', 'import pty']).status === 0 ? false : 'needs python3'

/** Runs a command on a terminal, presses a key when the second frame is there, and prints what came and how it ended. */
const ON_A_TERMINAL = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b''
pressed = False
while True:
    try:
        chunk = os.read(fd, 65536)
    except OSError:
        break
    if not chunk:
        break
    said += chunk
    if not pressed and said.count(b'q quits') >= 2:
        pressed = True
        os.write(fd, sys.argv[1].encode())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if hasattr(os, 'waitstatus_to_exitcode') else 0)
sys.stdout.flush()
sys.stdout.buffer.write(said)
`

t.test('without a terminal it is printed once, as plain text', { timeout: 60_000 }, async (t) => {
  const own = await testBroker(t)
  const env = { REPROQ_URL: own.url, REPROQ_TOKEN: own.token }
  await own.reproq.enqueue('mail.send', {}, { queue: 'mail' })
  await own.database.pool.query(`INSERT INTO task_runs (queue_name, spec_json, spec_hash, task_path, status, finished_at) VALUES ('mail', '{}', 'h', 'mail.lost', 'FAILED', now())`)
  const { code, stdout, stderr } = await reproq(t, ['top'], { env })
  t.match({ code, stderr }, { code: 0, stderr: '' })
  for (const line of [/^QUEUE +READY +RUNNING/m, /^mail +1 +0 +0 +0 +\d{4}-/m, /^WORKER/m, /^mail\.lost +1 +1$/m, /^\d+ +mail\.send +mail +READY/m]) t.match(stdout, line)
  t.notMatch(stdout, /\u001b/)
})

t.test('on a terminal it is drawn over itself, and q and Ctrl-C leave the terminal as it was', { skip: noPython, timeout: 60_000 }, async (t) => {
  const own = await testBroker(t)
  for (const key of ['q', '\u0003']) {
    const child = spawn('python3', ['-c', ON_A_TERMINAL, key, process.execPath, MAIN, 'top'], { cwd: t.testdirName, env: { PATH: process.env.PATH, TERM: 'xterm', REPROQ_URL: own.url, REPROQ_TOKEN: own.token }, stdio: 'pipe' })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
    await once(child, 'close')
    t.match(said, /^0\n\u001b\[\?1049h\u001b\[\?25l/, 'the other screen')
    t.ok(said.endsWith('\u001b[?7h\u001b[?25h\u001b[?1049l'), 'and back')
    t.notMatch(said, /\u001b\[2J/, 'never cleared')
  }
})
