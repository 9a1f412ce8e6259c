// npm test: installs, builds, starts a Postgres and runs the tests. Arguments narrow it down: npm test -- server/src/runs/lease
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureBuilt } from './built.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const tap = join(root, 'node_modules/tap/dist/esm/run.mjs')
/** Full names of tests that may be skipped with CI=true. There is no reason for one so far. */
const MAY_BE_SKIPPED_IN_CI = new Set([])

await ensureBuilt()
const files = testFiles(process.argv.slice(2))
if (files.length === 0) fail(`No test file matches ${process.argv.slice(2).join(' ')}`)
buildTap()
const server = await startServer()
process.exitCode = await run(files, server.url).finally(() => server.stop())

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

async function run(files, url) {
  const child = spawn(process.execPath, [tap, 'run', '--jobs=2', '--reporter=tap', '--no-color', ...files], {
    cwd: root,
    env: { ...process.env, REPROQ_TEST_DATABASE_URL: url },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const interrupted = stopOnSignal(child)
  const report = readReport(child.stdout)
  const [code] = await once(child, 'close')
  return conclude(report, code, interrupted())
}

/** The terminal sends Ctrl-C to tap and its tests as well; they are waited for, so that the database outlives them. */
function stopOnSignal(child) {
  let signals = 0
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => child.kill(++signals === 1 ? signal : 'SIGKILL'))
  }
  return () => signals > 0
}

function readReport(stdout) {
  const { Parser } = createRequire(join(root, 'node_modules/tap/package.json'))('tap-parser')
  const report = { passed: 0, failed: 0, skipped: [] }
  const parser = new Parser()
  let before = { ...report }
  parser.on('extra', (text) => process.stdout.write(text))
  parser.on('bailout', (reason) => console.log(`Bail out! ${reason}`))
  parser.on('child', (file) => {
    before = { ...report }
    walk(file, fileName(file), report)
  })
  parser.on('assert', (file) => finishFile(file, before, report))
  stdout.pipe(parser)
  return report
}

function fileName({ name }) {
  return relative('dist', name).replace(/\.js$/, '')
}

function finishFile(file, before, report) {
  const name = fileName(file)
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
