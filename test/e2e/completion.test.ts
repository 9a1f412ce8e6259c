import { spawnSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { defineSchedule } from '../../sdk-ts/src/index.js'
import { MAIN, testBroker } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'

t.beforeEach((t) => void t.testdir({}))
const bashIsHere = spawnSync('bash', ['-c', 'true']).status === 0

t.test('commands, options, choices and the names that the broker knows', { timeout: 120_000 }, async (t) => {
  const own = await testBroker(t)
  const env = { REPROQ_URL: own.url, REPROQ_TOKEN: own.token }
  const complete = async (...words: string[]) => {
    const { code, stdout, stderr } = await reproq(t, ['__complete', '--', ...words], { env })
    t.match({ code, stderr }, { code: 0, stderr: '' })
    return stdout.split('\n').filter(Boolean)
  }
  for (const queue of ['mail', 'maps', 'other']) await own.reproq.enqueue('mail.send', {}, { queue, delay: '1h' })
  await own.reproq.schedules.put(defineSchedule({ name: 'nightly', cron: '@daily', task: 'mail.send' }))

  t.strictSame(await complete('que'), ['queues'])
  t.notOk((await complete('')).includes('__complete'), 'it is nobody else’s business')
  t.strictSame(await complete('queues', ''), ['list', 'pause', 'resume', 'clear'])
  t.strictSame(await complete('queues', 'pause', '--re'), ['--reason'])
  t.strictSame(await complete('queues', 'list', '-o', 'json'), ['json', 'jsonl'])
  t.strictSame(await complete('runs', 'list', '--task', ''), ['mail.send'])
  t.strictSame(await complete('run', 'm'), ['mail.send'])
  t.strictSame(await complete('schedules', 'trigger', ''), ['nightly'])
  t.strictSame(await complete('schedules', 'pause', 'another', 'n'), ['nightly'])
  t.strictSame(await complete('completion', 'z'), ['zsh'])
  t.strictSame(await complete('runs', 'get', ''), [], 'ids are too many to list')
  t.strictSame(await complete('nonsense', ''), [])
  t.strictSame(await complete('queues', 'pause', '--reason', 'm'), [], 'the value of an option is no queue')
})

t.test('in bash the words of the line are completed', { skip: !bashIsHere, timeout: 120_000 }, async (t) => {
  const own = await testBroker(t)
  for (const queue of ['mail', 'my queue', 'other']) await own.reproq.queues.pause(queue)
  t.testdir({ bin: { reproq: `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n` } })
  const bin = join(t.testdirName, 'bin')
  const script = `chmod +x reproq; source <(reproq completion bash); complete -p reproq
    offer() { COMP_WORDS=(reproq "$@"); COMP_CWORD=$#; _reproq; printf '[%s]' "\${COMPREPLY[@]}"; echo; }
    offer queues pause m; offer queues pause x; offer tri`
  const child = spawn('bash', ['--noprofile', '--norc', '-c', script], { cwd: bin, env: { PATH: `${bin}:${process.env.PATH}`, REPROQ_URL: own.url, REPROQ_TOKEN: own.token }, stdio: 'pipe' })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
  await once(child, 'close')
  t.equal(said, 'complete -o default -F _reproq reproq\n[mail][my\\ queue]\n[]\n[triage]\n')
})

// The bound is shorter than the patience of a client.
t.test('a broker that says nothing is not waited for, and one that is not there is no error', { timeout: 20_000 }, async (t) => {
  const mute = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(mute, 'listening')
  t.teardown(() => mute.close())
  const { port } = mute.address() as { port: number }
  for (const url of [`http://127.0.0.1:${port}`, 'http://127.0.0.1:1']) t.match(await reproq(t, ['__complete', '--', 'queues', 'pause', ''], { env: { REPROQ_URL: url } }), { code: 0, stdout: '', stderr: '' })
})
