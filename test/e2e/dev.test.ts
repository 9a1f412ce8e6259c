import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { MAIN, testBroker } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { until } from '../helpers/wait.js'

const START = fileURLToPath(new URL('../../../scripts/start.mjs', import.meta.url))
const BOUND_MS = 60_000
const UP = /stop {2}Ctrl-C/

interface Given {
  teardown(end: () => unknown): void
}

/** A command in a process of its own, killed when it takes too long. */
function start(t: Given, args: string[], cwd: string, env: Record<string, string> = {}) {
  const { DATABASE_URL, REPROQ_DATABASE_URL, FORCE_COLOR, ...rest } = process.env
  const child = spawn(process.execPath, args, { cwd, env: { ...rest, NO_COLOR: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const bound = setTimeout(() => child.kill('SIGKILL'), BOUND_MS)
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
  const ended = once(child, 'close').then(([code]) => {
    clearTimeout(bound)
    return code as number | null
  })
  return { child, ended, said: () => said, says: (what: RegExp) => until(`output like ${what}`, () => what.test(said) || child.exitCode !== null, BOUND_MS) }
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  return String(port)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

t.test('npm start: once, again, beside another, stopped, forced, and with its Postgres killed', { timeout: 240_000 }, async (t) => {
  const folder = t.testdir({})
  const port = await freePort()
  const env = { REPROQ_PORT: port }
  const dev = (...args: string[]) => start(t, [START, ...args], folder, env)
  const state = () => JSON.parse(readFileSync(join(folder, '.reproq/dev.json'), 'utf8')) as { pid: number; url: string; token: string }
  const postgres = () => JSON.parse(readFileSync(join(folder, '.reproq/postgres.json'), 'utf8')) as { pid: number; dataDir: string }

  const first = dev('--once')
  t.equal(await first.ended, 0, first.said())
  // Run as root, the data is not in the folder; the folder is gone when this is called.
  const { dataDir } = postgres()
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  for (const line of [/✔ postgres .*embedded/, /✔ schema .*applied/, new RegExp(`✔ broker .*:${port} `), /✔ worker .*typescript/, /✔ hello {2}run \d+/, /↻ flaky/]) t.match(first.said(), line)
  t.notOk(existsSync(join(folder, '.reproq/dev.json')), 'nothing that looks alive is left')
  const token = readFileSync(join(folder, '.reproq/token'), 'utf8').trim()

  const second = dev()
  await second.says(UP)
  t.match(second.said(), /up to date/, 'the second start is warm')
  t.equal(state().token, token, 'and has the same token')
  const found = await fetch(`${state().url}/v1/runs/1`, { headers: { authorization: `Bearer ${state().token}` } })
  t.match(await found.json(), { status: 'SUCCESSFUL' }, 'and finds the runs of the first')
  const beside = dev()
  t.equal(await beside.ended, 0)
  t.match(beside.said(), /already running in this folder/)
  const once = dev('--once')
  t.equal(await once.ended, 0, once.said())
  t.match(once.said(), /example runs succeeded/, 'in the one that runs')
  const ignored = dev('--tasks', 'nothing/*.ts')
  t.equal(await ignored.ended, 1)
  t.match(ignored.said(), /ALREADY_RUNNING.*--tasks would be ignored/)
  const server = postgres().pid
  second.child.kill('SIGINT')
  t.equal(await second.ended, 0, 'Ctrl-C')
  t.notOk(isAlive(server), 'Postgres has ended as well')

  const forced = dev('--no-examples')
  await forced.says(UP)
  forced.child.kill('SIGINT')
  await forced.says(/Ctrl-C again/)
  forced.child.kill('SIGINT')
  t.ok(existsSync(join(folder, '.reproq/dev.json')), 'nobody cleans up after that, as after a crash')
  const left = postgres().pid
  t.equal(await forced.ended, 130, 'the second Ctrl-C')
  await until('Postgres ends by itself then', () => !isAlive(left))

  // Looks like Python until it has to run something.
  const python = join(folder, 'python')
  writeFileSync(python, '#!/bin/sh\n[ "$1" = --version ]\n')
  chmodSync(python, 0o755)
  const broken = dev('--once', '--python', python)
  t.equal(await broken.ended, 1, 'an example that fails')
  t.match(broken.said(), /✖ .*examples\.python_tasks/)

  const orphan = dev('--no-examples')
  await orphan.says(UP)
  process.kill(postgres().pid, 'SIGKILL')
  t.equal(await orphan.ended, 1)
  t.match(orphan.said(), /DATABASE_LOST/)
  t.notMatch(orphan.said(), /^\{/m, 'no raw JSON')
  t.notOk(existsSync(join(folder, '.reproq/dev.json')))
})

t.test('a broker that cannot start says why and ends', { timeout: 60_000 }, async (t) => {
  const database = await testDatabase(t)
  const env = { REPROQ_DATABASE_URL: database.url, REPROQ_LOG_LEVEL: 'silent' }
  const broker = (...args: string[]) => start(t, [MAIN, 'broker', ...args], t.testdirName, env)
  t.testdir({})
  const open = broker('--host', '0.0.0.0', '--port', '0')
  t.equal(await open.ended, 1)
  t.match(open.said(), /PUBLIC_BIND_WITHOUT_TOKENS/)
  const { url } = await testBroker(t)
  const taken = broker('--port', new URL(url).port)
  t.equal(await taken.ended, 1)
  t.match(taken.said(), /PORT_TAKEN/)
  const high = broker('--port', '99999')
  t.equal(await high.ended, 2, 'a wrong value is wrong usage')
  t.match(high.said(), /INVALID_SETTING .*99999/)
})

t.test('code of TypeScript tasks is loaded anew when it changes; what runs ends with the old, and a file that does not load changes nothing', { timeout: 90_000 }, async (t) => {
  const { url: databaseUrl } = await testDatabase(t)
  const task = (text: string) => `import { word } from '../word.mjs'
    const task = (name, perform) => ({ '~reproq': 'task', name, definedAt: undefined, perform })
    export const say = task('say', () => ${JSON.stringify(text)} + word)
    export const slow = task('slow', async () => { while (!(await import('node:fs')).existsSync('go')) await new Promise((again) => setTimeout(again, 20)); return ${JSON.stringify(text)} })\n`
  const folder = t.testdir({ 'word.mjs': `export const word = ' 1'\n`, tasks: { 'say.mjs': task('old') } })
  const dev = start(t, [MAIN, 'dev', '--no-examples', '--no-python', '--tasks', 'tasks/*.mjs'], folder, { REPROQ_DATABASE_URL: databaseUrl, REPROQ_PORT: await freePort() })
  await dev.says(UP)
  const { url, token } = JSON.parse(readFileSync(join(folder, '.reproq/dev.json'), 'utf8')) as { url: string; token: string }
  const reproq = new Reproq({ url, token })
  const said = async () => (await reproq.enqueue('say')).result({ timeout: '30s' })
  t.equal(await said(), 'old 1')
  const running = await reproq.enqueue('slow')
  await until('it runs', async () => (await running.get()).status === 'RUNNING')

  writeFileSync(join(folder, 'tasks/say.mjs'), task('new'))
  await dev.says(/✔ worker +loaded anew: tasks\/say\.mjs\n/)
  t.equal(await said(), 'new 1')
  writeFileSync(join(folder, 'word.mjs'), `export const word = ' 2'\n`)
  await dev.says(/✔ worker +loaded anew: word\.mjs\n/)
  t.equal(await said(), 'new 2', 'and what they import')
  writeFileSync(join(folder, 'go'), '')
  t.equal(await running.result({ timeout: '30s' }), 'old', 'an attempt ends with the code it began with')
  t.equal((await running.get()).attempts, 1)

  writeFileSync(join(folder, 'tasks/say.mjs'), 'export const say = {{\n')
  await dev.says(/✖ worker +goes on with the code before/)
  t.match(dev.said(), /say\.mjs:1 does not load: SyntaxError/)
  t.equal(await said(), 'new 2')
  writeFileSync(join(folder, 'tasks/say.mjs'), task('mended'))
  await dev.says(/goes on with the code before[^]*✔ worker +loaded anew: tasks\/say\.mjs\n/)
  t.equal(await said(), 'mended 2')
  dev.child.kill('SIGINT')
  t.equal(await dev.ended, 0, dev.said())
})
