import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify, stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { MAIN, testBroker } from './helpers/broker.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const TSX = join(ROOT, 'node_modules/tsx/dist/cli.mjs')
const BOUND_MS = 30_000
const exec = promisify(execFile)
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
const snippets = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language = '', text = '']) => ({ language, text }))

/** The first snippet of that language in which `mark` occurs. */
function snippet(language: string, mark: string): string {
  const found = snippets.find(({ language: its, text }) => its === language && text.includes(mark))
  if (!found) throw new Error(`README.md has no ${language} snippet with ${mark}`)
  return found.text
}

t.test('what README.md shows works as it stands there', { timeout: 120_000 }, async (t) => {
  const { url, token, database, reproq: client } = await testBroker(t)
  const folder = t.testdir({ 'package.json': '{ "type": "module" }', '.reproq': { token: `${token}\n` } })
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(ROOT, join(folder, 'node_modules/reproq'))
  for (const [language, path] of [['ts', 'tasks/email.ts'], ['ts', 'producer.ts'], ['ts', 'schedules.ts'], ['python', 'mypkg/tasks.py']] as const) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), snippet(language, `${language === 'ts' ? '//' : '#'} ${path}`))
  }
  const env = { ...process.env, REPROQ_URL: url, REPROQ_TOKEN: token, NO_COLOR: '1' }
  const reproq = async (command: string) => (await exec('sh', ['-c', command.replace('npx reproq', '"$NODE" "$MAIN"')], { cwd: folder, env: { ...env, NODE: process.execPath, MAIN }, timeout: BOUND_MS })).stdout
  const worker = spawn(process.execPath, [MAIN, 'worker', '--tasks', 'tasks/*.ts', '--python', 'python3', '--allow-tasks', 'mypkg.tasks.'], { cwd: folder, env, stdio: 'ignore' })
  t.teardown(() => ended(worker))

  t.equal((await exec(process.execPath, [TSX, 'producer.ts'], { cwd: folder, env, timeout: BOUND_MS })).stdout, 'm-1\n', 'TypeScript')
  t.equal(await reproq(snippet('sh', 'npx reproq run mypkg.tasks.add').trim()), '5\n', 'Python')

  await database.pool.query(snippet('sql', 'reproq_enqueue'))
  const { rows } = await database.pool.query<{ run: string }>(`SELECT result_id::text AS run FROM task_runs WHERE task_path = 'mypkg.tasks.add' ORDER BY result_id DESC LIMIT 1`)
  t.equal(await client.handle(rows[0]?.run as string).result({ timeout: '20s' }), 5, 'SQL')

  const schedules = snippet('sh', 'schedules sync').replaceAll('npx reproq', '"$NODE" "$MAIN"')
  const said = (await exec('sh', ['-ec', schedules], { cwd: folder, env: { ...env, NODE: process.execPath, MAIN }, timeout: 2 * BOUND_MS })).stdout
  t.match(stripVTControlCharacters(said), /nightly-welcome +created[^]*AT\n20\d\d-[^]*RUN\n\d+\n/, 'schedules')

  const curl = snippet('sh', 'curl -s').replaceAll('http://127.0.0.1:4700', url)
  const { stdout } = await exec('sh', ['-c', curl], { cwd: folder, env, timeout: BOUND_MS })
  t.match(stdout, /"m-1"/, 'REST: it enqueues, and the first run of all is the one of the producer')
})

t.test('no command puts a token where other users see it, and none installs what is not published', async (t) => {
  const commands = snippets.filter(({ language }) => language === 'sh').map(({ text }) => text).join('')
  t.notMatch(commands, /--token/)
  t.notMatch(commands, /npm (i|install|add) reproq|npx -y reproq/)
})

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  setTimeout(() => child.kill('SIGKILL'), 5_000).unref()
  await gone
}
