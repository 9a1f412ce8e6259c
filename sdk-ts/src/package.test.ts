import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t, { type Test } from 'tap'

/** The package as its users see it: through its exports, from a project of their own. */
const root = fileURLToPath(new URL('../../..', import.meta.url))

/** A project that has installed this package. */
function project(t: Test, files: Record<string, string>): string {
  const installed = (name: string, folder: string) => ({ [name]: t.fixture('symlink', folder) })
  return t.testdir({
    ...files,
    node_modules: { ...installed('reproq', root), ...installed('zod', join(root, 'node_modules/zod')), ...installed('undici', join(root, 'node_modules/undici')) },
  })
}

// tap loads itself into the children of a test through NODE_OPTIONS, whatever they are given; tsc does not survive it.
const started = (folder: string, ...args: string[]) => spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args], { cwd: folder, encoding: 'utf8' })
const node = (folder: string, file: string) => started(folder, file)
const tsc = (folder: string) => started(folder, join(root, 'node_modules/typescript/bin/tsc'), '-p', folder)

t.test('import and require both give the client for Node, and its transaction half', async (t) => {
  const folder = project(t, {
    'esm.mjs': `import { Reproq, defineTask } from 'reproq'; import { enqueueInTransaction } from 'reproq/pg'\nconsole.log(typeof Reproq, typeof defineTask, typeof enqueueInTransaction)`,
    'cjs.cjs': `const { Reproq, defineTask } = require('reproq'); const { enqueueInTransaction } = require('reproq/pg')\nconsole.log(typeof Reproq, typeof defineTask, typeof enqueueInTransaction)`,
  })

  for (const file of ['esm.mjs', 'cjs.cjs']) t.match(node(folder, file), { stdout: 'function function function\n', stderr: '' }, file)
})

t.test('in Node the connections are those of undici', async (t) => {
  // undici.request never calls fetch, so a broken fetch shows who is asked.
  const probe = `globalThis.fetch = () => { throw new Error('fetch was used') }
new Reproq({ url: 'http://127.0.0.1:1' }).enqueue('x').catch((error) => console.log(error.cause.code))`
  const folder = project(t, { 'esm.mjs': `import { Reproq } from 'reproq'\n${probe}`, 'cjs.cjs': `const { Reproq } = require('reproq')\n${probe}` })

  for (const file of ['esm.mjs', 'cjs.cjs']) t.equal(node(folder, file).stdout, 'ECONNREFUSED\n', file)
})

t.test('for browsers and edge runtimes the client is small and needs nothing of Node', async (t) => {
  const folder = project(t, { 'app.mjs': `import { Reproq } from 'reproq'\nglobalThis.client = Reproq` })

  for (const conditions of [[], ['worker'], ['edge-light']]) {
    const { outputFiles, metafile } = await build({ entryPoints: [join(folder, 'app.mjs')], bundle: true, minify: true, write: false, metafile: true, platform: conditions.length > 0 ? 'neutral' : 'browser', format: 'esm', conditions })
    const bytes = gzipSync(outputFiles[0]?.contents ?? '').length
    t.ok(bytes <= 12_288, `${bytes} bytes`)
    t.same(Object.keys(metafile.inputs).filter((input) => /undici|typebox|ajv|transport-node|^node:/.test(input)), [])
  }
})

const typed = (imports: string) => `${imports}
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_: Same<A, B>) => {}

export const sendWelcome = defineTask({
  name: 'email.sendWelcome',
  input: z.object({ userId: z.number(), locale: z.string().default('en') }),
  output: z.object({ messageId: z.string() }),
  async run({ input, signal, log, attempt }) {
    same<typeof input, { userId: number; locale: string }>(true)
    same<typeof signal, AbortSignal>(true)
    log.info('sending', { attempt })
    return { messageId: 'm' + input.userId }
  },
})
export const annotated = defineTask({ name: 'a', run: ({ input }: TaskContext<{ n: number }>) => ({ half: input.n / 2, at: new Date() }) })
export const generic = defineTask<{ n: number }, string>({ name: 'g', run: ({ input }) => input.n.toFixed(1) })
export const tick = defineTask({ name: 'tick', run() {} })
export const add = remoteTask<{ args: [number, number] }, number>('py.add', { queue: 'python' })

export async function use(rq: Reproq, tx: SqlClient) {
  const run = await rq.enqueue(sendWelcome, { userId: 1 }, { delay: '10m', idempotencyKey: 'k', tx })
  const { messageId } = await run.result({ timeout: '30s' })
  same<typeof messageId, string>(true)
  same<InputOf<typeof sendWelcome>, { userId: number; locale?: string | undefined }>(true)
  same<OutputOf<typeof annotated>, { half: number; at: string }>(true)
  same<OutputOf<typeof tick>, null>(true)
  const settled = await run.settled()
  if (settled.ok) same<typeof settled.output, { messageId: string }>(true)
  else settled.error.code satisfies string
  for await (const event of run.events()) event.status satisfies 'READY' | 'WAITING' | 'RUNNING' | 'SUCCESSFUL' | 'FAILED' | 'CANCELLED'

  await rq.enqueue(tick)
  await rq.enqueue(tick, undefined, { priority: 1 })
  await rq.enqueue(add, { args: [1, 2] })
  const sum: number = await rq.run(add, { args: [1, 2] }, { wait: 1_000 })
  const text: string = await rq.run(generic, { n: sum })
  const named = await rq.enqueue<typeof sendWelcome>('email.sendWelcome', { userId: 1 })
  same<Awaited<ReturnType<typeof named.result>>, { messageId: string }>(true)
  await rq.enqueue('anything', { goes: text })
  await rq.enqueueMany(sendWelcome, [{ input: { userId: 1 }, priority: 2 }])
  await rq.enqueueMany(tick, [{}, {}])
  await enqueueInTransaction(tx, sendWelcome, { userId: 1 })

  // @ts-expect-error a field is missing
  await rq.enqueue(sendWelcome, {})
  // @ts-expect-error a field has the wrong type
  await rq.enqueue(sendWelcome, { userId: '1' })
  // @ts-expect-error a field too many
  await rq.enqueue(sendWelcome, { userId: 1, local: 'de' })
  // @ts-expect-error the input is missing
  await rq.enqueue(sendWelcome)
  // @ts-expect-error a task without input takes none
  await rq.enqueue(tick, { userId: 1 })
  // @ts-expect-error no such option
  await rq.enqueue(tick, undefined, { retries: 3 })
  // @ts-expect-error the result has no such field
  void (await run.result()).messageID
  // @ts-expect-error a Date comes back as text
  void (await rq.run(annotated, { n: 1 })).at.getTime()
  // @ts-expect-error one argument too few
  await rq.enqueue(add, { args: [1] })
  // @ts-expect-error the name alone knows its type as well
  await rq.enqueue<typeof sendWelcome>('email.sendWelcome', { userId: '1' })
  // @ts-expect-error one of many is wrong
  await rq.enqueueMany(sendWelcome, [{ input: { userId: 1 } }, { input: { userId: '2' } }])
  // @ts-expect-error also in a transaction
  await enqueueInTransaction(tx, sendWelcome, {})
}

defineTask({
  name: 'b',
  output: z.object({ messageId: z.string() }),
  // @ts-expect-error run returns what the output schema does not take
  run: () => ({ messageId: 5 }),
})
// @ts-expect-error run wants what the input schema does not give
defineTask({ name: 'c', input: z.object({ userId: z.number() }), run: ({ input }: TaskContext<{ userId: string }>) => input.userId })
`
const imports = `import { defineTask, remoteTask, Reproq, type InputOf, type OutputOf, type SqlClient, type TaskContext } from 'reproq'
import { enqueueInTransaction } from 'reproq/pg'
import * as z from 'zod'`
const options = { target: 'es2022', strict: true, noEmit: true, exactOptionalPropertyTypes: true }

t.test('types flow from the definition to the enqueue and to the result, for every kind of project', async (t) => {
  const projects = {
    'nodenext, ESM': { type: 'module', compilerOptions: { ...options, module: 'nodenext', lib: ['es2022', 'dom'] } },
    'nodenext, CommonJS': { type: 'commonjs', compilerOptions: { ...options, module: 'nodenext', lib: ['es2022', 'dom'] } },
    'a bundler': { type: 'module', compilerOptions: { ...options, skipLibCheck: true, module: 'esnext', moduleResolution: 'bundler', lib: ['es2022', 'dom'] } },
  }
  for (const [kind, { type, compilerOptions }] of Object.entries(projects)) {
    await t.test(kind, async (t) => {
      const folder = project(t, {
        'package.json': JSON.stringify({ type }),
        'tsconfig.json': JSON.stringify({ compilerOptions: { ...compilerOptions, types: [] }, files: ['app.ts'] }),
        'app.ts': typed(imports),
      })

      t.match(tsc(folder), { status: 0, stdout: '', stderr: '' })
    })
  }
})

t.test('the type of a task reads like what it takes and gives', async (t) => {
  const folder = project(t, {
    'package.json': '{"type":"module"}',
    'tsconfig.json': JSON.stringify({ compilerOptions: { target: 'es2022', module: 'nodenext', strict: true, declaration: true, emitDeclarationOnly: true, skipLibCheck: true, lib: ['es2022', 'dom'], types: [] }, files: ['app.ts'] }),
    'app.ts': typed(imports),
  })

  t.match(tsc(folder), { status: 0, stdout: '', stderr: '' })

  const declared = readFileSync(join(folder, 'app.d.ts'), 'utf8').replace(/\s+/g, ' ')
  t.match(declared, `sendWelcome: import("reproq").Task<{ userId: number; locale?: string | undefined; }, { messageId: string; }>`)
  t.match(declared, `annotated: import("reproq").Task<{ n: number; }, { half: number; at: string; }>`)
  t.match(declared, `tick: import("reproq").Task<void, null>`)
})
