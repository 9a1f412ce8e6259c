import { Command } from 'commander'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { EnqueueRequest } from '../protocol/src/index.js'
import '../server/src/broker.js'
import '../server/src/schedules/pg-cron.js'
import { addCallOptions } from '../server/src/cli/call-options.js'
import { loadConfig, settings, type Overrides } from '../server/src/config.js'
import { statements } from '../server/src/db/statement.js'
import { BrokerError, errorCodes } from '../server/src/errors.js'
import { scopes } from '../server/src/http/scopes.js'
import { testDatabase } from './helpers/database.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const OWN_FOLDERS = ['protocol', 'migrations', 'server', 'sdk-ts', 'executor-shims', 'test', 'scripts']
const LONGEST = 400

const files = OWN_FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/node_modules|__pycache__/.test(entry.parentPath))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name))),
).toSorted()
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const isTest = (file: string) => file.startsWith('test/') || /\.test\.(given\.)?ts$/.test(file)
const sources = files.filter((file) => file.endsWith('.ts') && !isTest(file))

interface Import {
  from: string
  to: string
  /** Gone after compiling. */
  typeOnly: boolean
}
/** Imports of our own files. The compiler's `verbatimModuleSyntax` makes `import type` the only kind that leaves no trace. */
function importsOf(file: string): Import[] {
  const found = read(file).matchAll(/^(?:import|export)\s+(type\s)?[^'";]*?(?:from\s+)?'(\.[^']+)'|import\('(\.[^']+)'\)/gm)
  return [...found].map(([, type, path, lazy]) => ({
    from: file,
    to: relative(ROOT, join(ROOT, dirname(file), (path ?? lazy) as string)).replace(/\.js$/, '.ts'),
    typeOnly: type !== undefined,
  }))
}
const imports = sources.flatMap(importsOf)

t.test('every SQL file under server is loaded once, says what it does, and prepares on a migrated database', async (t) => {
  const { pool } = await testDatabase(t)
  const sqlFiles = files.filter((file) => file.startsWith('server/') && file.endsWith('.sql'))
  const texts = sqlFiles.map(read)
  t.strictSame(statements.map(({ text }) => text).toSorted(), texts.toSorted(), 'loaded by somebody, and by one module')
  t.equal(new Set(statements.map(({ name }) => name)).size, statements.length, 'two statements of one name would be one for pg')
  t.strictSame(statements.filter(({ name }) => name.length > 63), [], 'Postgres would cut a longer name')
  for (const [at, file] of sqlFiles.entries()) {
    t.match(texts[at], /^-- [A-Z]/, `${file} opens with what it does`)
    await t.resolves(pool.query(`PREPARE house_${at} AS ${texts[at]}`), file)
  }
})

t.test('imports between the parts point one way', async (t) => {
  const mayUse: Record<string, string[]> = { protocol: [], 'sdk-ts': ['protocol'], 'executor-shims': ['protocol', 'sdk-ts'], server: ['protocol'] }
  const part = (file: string) => file.split('/')[0] as string
  const wrong = imports.filter(({ from, to }) => part(from) !== part(to) && !mayUse[part(from)]?.includes(part(to)))
  // The commands put everything together: `reproq dev` runs a worker, `reproq run` is a client.
  t.strictSame(wrong.filter(({ from }) => !from.startsWith('server/src/cli/')), [])
})

t.test('imports inside the server point to the left: config errors events ← db ← runs sessions schedules ← workflows ← engine ← link ← http ← broker ← cli', async (t) => {
  const layers = [['config', 'errors', 'events'], ['db'], ['runs', 'sessions', 'schedules'], ['workflows'], ['engine'], ['link'], ['http'], ['broker'], ['cli']]
  const name = (file: string) => /^server\/src\/([^/.]+)/.exec(file)?.[1] ?? ''
  const layer = (file: string) => layers.findIndex((names) => names.includes(name(file)))
  const inside = imports.filter(({ from, to }) => from.startsWith('server/src/') && to.startsWith('server/src/') && name(from) !== name(to))
  t.ok(inside.length > 50, 'they are found at all')
  const known = inside.filter(({ from, to }) => name(from) !== 'telemetry' && name(to) !== 'telemetry')
  t.strictSame(known.filter(({ from, to }) => layer(from) < 0 || layer(to) < 0), [], 'every folder has its place')
  const leaf = (file: string) => layer(file) === 0
  t.strictSame(known.filter(({ from, to }) => layer(to) > layer(from) || (layer(to) === layer(from) && !leaf(from))), [])
  t.strictSame(inside.filter(({ from, to }) => name(from) === 'telemetry' && !leaf(to)), [], 'telemetry listens to events and knows nothing else')
  t.strictSame(inside.filter(({ from, to }) => name(to) === 'telemetry' && !['broker', 'cli'].includes(name(from))), [], 'and nobody depends on it')
})

t.test('nothing that is shipped imports a test', async (t) => {
  t.strictSame(imports.filter(({ to }) => isTest(to)), [])
})

t.test('no modules import each other in a circle', async (t) => {
  const next = new Map<string, string[]>()
  for (const { from, to, typeOnly } of imports) if (!typeOnly) next.set(from, [...(next.get(from) ?? []), to])
  const done = new Set<string>()
  const circles: string[] = []
  const walk = (file: string, path: string[]) => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (done.has(file) || path.includes(file)) return
    for (const to of next.get(file) ?? []) walk(to, [...path, file])
    done.add(file)
  }
  for (const file of sources) walk(file, [])
  t.strictSame(circles, [])
})

t.test('no file is longer than a person reads in one go, and none gives up on its types', async (t) => {
  const lines = (file: string) => read(file).split('\n').length - 1
  t.strictSame(files.filter((file) => /\.(ts|sql|mjs|py)$/.test(file) && lines(file) > LONGEST).map((file) => `${file}: ${lines(file)}`), [])
  t.strictSame(sources.filter((file) => /^(?!\s*(\*|\/\*|\/\/)).*(: any\b|\bas any\b|<any>|\bany\[\])|@ts-(ignore|expect-error|nocheck)/m.test(read(file))), [])
})

t.test('migrations are numbered without a gap and open with their purpose', async (t) => {
  const migrations = files.filter((file) => /^migrations\/\d.*\.sql$/.test(file))
  t.ok(migrations.length >= 3)
  migrations.forEach((file, at) => {
    t.match(file, new RegExp(`^migrations/${String(at + 1).padStart(4, '0')}_[a-z0-9_]+\\.sql$`))
    t.match(read(file), /^-- \S/, file)
  })
})

t.test('server/REFERENCE.md lists every setting, scope and error as the code has them', async (t) => {
  const cell = (text: string) => text.replaceAll('|', '\\|')
  const settingRows = Object.values(settings).map(({ env, default: value, doc }) => `| \`${env}\` | ${value === '' ? '' : `\`${value}\``} | ${cell(doc)} |`)
  const errorRows = errorCodes.map((code) => new BrokerError(code, '')).map(({ code, status, title, hint }) => `| \`${code}\` | ${status} | ${cell(title)} | ${cell(hint)} |`)
  const text = [
    '# Reference', '',
    'Made from `src/config.ts`, `src/http/scopes.ts` and `src/errors.ts`; write it anew with `REPROQ_WRITE_REFERENCE=1 npm test -- test/house`.', '',
    '## Settings', '',
    'A flag (`--lease-ms`) wins over the variable, this over `.env`, over `reproq.config.{ts,mjs,js,json}` (`broker: { leaseMs: 60_000 }`), over the default. Names say their unit.', '',
    '| Variable | Default | |', '|---|---|---|', ...settingRows, '',
    '## Scopes', '',
    'What a token may do (`reproq tokens create web --scope enqueue read`). A scope includes no other, but for `admin`.', '',
    '| Scope | Allows |', '|---|---|', ...Object.entries(scopes).map(([scope, doc]) => `| \`${scope}\` | ${cell(doc)} |`), '',
    '## Errors', '',
    'REST answers errors as problem documents (RFC 9457) with one of these as `code`; the `status` of those that only a command shows is 500.', '',
    '| Code | Status | Means | What to do |', '|---|---|---|---|', ...errorRows, '',
  ].join('\n')
  const path = join(ROOT, 'server/REFERENCE.md')
  if (process.env.REPROQ_WRITE_REFERENCE === '1') writeFileSync(path, text)
  t.equal(read('server/REFERENCE.md'), text)
})

t.test('OPTIONS.md names every option of REST and of reproq_enqueue, and none that is not there', async (t) => {
  const rows = read('OPTIONS.md').split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| SDK'))
  const column = (at: number) => rows.map((row) => row.split(' | ')[at] ?? '').join('\n')
  const words = (text: string) => [...new Set([...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => (/^[a-z_]+(?:\.[a-z_]+)?/.exec(code) as RegExpExecArray)[0]))].toSorted()

  const { rate, retry, ...flat } = EnqueueRequest.properties
  const fields = [...Object.keys(flat), ...Object.keys(rate.properties).map((name) => `rate.${name}`), ...Object.keys(retry.properties).map((name) => `retry.${name}`)]
  t.strictSame(words(column(1)), fields.toSorted())

  const { pool } = await testDatabase(t)
  const { rows: [made] } = await pool.query<{ names: string[] }>(`SELECT proargnames[1:pronargs] AS names FROM pg_proc WHERE proname = 'reproq_enqueue'`)
  t.strictSame(words(column(2)), made?.names.filter((name) => name !== 'canonical_spec').toSorted())

  const flags = addCallOptions(new Command()).options.map(({ long }) => long)
  for (const [flag] of column(3).matchAll(/--[a-z-]+/g)) t.ok(flags.includes(flag), flag)
})

t.test('every error code is thrown somewhere', async (t) => {
  const text = sources.filter((file) => file.startsWith('server/') && file !== 'server/src/errors.ts').map(read).join('\n')
  t.strictSame(errorCodes.filter((code) => !text.includes(`BrokerError('${code}'`)), [])
})

t.test('settings that cannot be, alone or together, are refused with their values', async (t) => {
  t.doesNotThrow(() => loadConfig({}, {}), 'the defaults can')
  const rows: [Overrides, RegExp][] = [
    [{ poolSize: 0 }, /REPROQ_POOL_SIZE is 0; .* at least 1/],
    [{ port: 70_000 }, /REPROQ_PORT is 70000; .* 65535/],
    [{ port: 1.5 }, /REPROQ_PORT is 1.5; .* whole/],
    [{ retryJitter: 1.5 }, /REPROQ_RETRY_JITTER is 1.5; .* at most 1/],
    [{ leaseMs: 2 ** 31 }, /REPROQ_LEASE_MS is 2147483648/],
    [{ heartbeatMs: 2_000, leaseMs: 1_000 }, /REPROQ_HEARTBEAT_MS is 2000 and REPROQ_LEASE_MS is 1000/],
    [{ payloadBytes: 3_000, bodyBytes: 2_000 }, /REPROQ_PAYLOAD_BYTES is 3000 and REPROQ_BODY_BYTES is 2000/],
    [{ payloadBytes: 3_000, frameBytes: 2_000 }, /REPROQ_PAYLOAD_BYTES is 3000 and REPROQ_FRAME_BYTES is 2000/],
    [{ deduplicate: 'yes' }, /REPROQ_DEDUPLICATE is yes; .* on or off/],
    [{ logLinks: 'signed' }, /REPROQ_LOG_LINKS is signed; .* on or off/],
    [{ logLevel: 'loud' }, /REPROQ_LOG_LEVEL is loud/],
  ]
  for (const [overrides, message] of rows) t.throws(() => loadConfig(overrides, {}), { code: 'INVALID_SETTING', message })
  t.throws(() => loadConfig({}, { REPROQ_LEASE_MS: '5000' }), { code: 'INVALID_SETTING', message: /HEARTBEAT_MS is 10000 and REPROQ_LEASE_MS is 5000/ }, 'also against a default')
})
