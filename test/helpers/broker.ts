import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import type { Test } from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { Broker } from '../../server/src/broker.js'
import { loadConfig, settings, type Config, type Overrides } from '../../server/src/config.js'
import { Pool } from '../../server/src/db/pool.js'
import { createToken } from '../../server/src/http/tokens.js'
import { testDatabase, type TestDatabase } from './database.js'

/** Times of a fast life: a lost worker is noticed in a second, a retry comes at once. */
export const QUICK: Overrides = { heartbeatMs: 200, leaseMs: 2_000, safetyMs: 400, reconnectMs: 700, reapMs: 100, lookMs: 500, drainMs: 3_000, retryBaseMs: 50, retryCapMs: 200, cancelGraceMs: 300, logLevel: 'silent', port: 0 }

export const MAIN = fileURLToPath(new URL('../../server/src/cli/main.js', import.meta.url))

export interface TestBroker {
  broker: Broker
  url: string
  token: string
  database: TestDatabase
  reproq: Reproq
  config: Config
}

/** A broker in this process, on a database of its own (or on `database`), stopped when `t` ends. */
export async function testBroker(t: Test, overrides: Overrides = {}, database?: TestDatabase): Promise<TestBroker> {
  const own = database ?? (await testDatabase(t))
  const config = loadConfig({ ...QUICK, databaseUrl: own.url, ...overrides }, {})
  const token = await givenToken(own.url, ['admin'])
  const broker = new Broker(config, pino({ level: process.env.REPROQ_TEST_LOG ?? 'silent' }, pino.destination(2)))
  const { url } = await broker.start()
  t.teardown(() => broker.stop({ drainMs: 0 }))
  return { broker, url, token, database: own, reproq: new Reproq({ url, token }), config }
}

let tokens = 0

/** A fresh token with these scopes. */
export async function givenToken(databaseUrl: string, scopes: string[]): Promise<string> {
  const pool = new Pool(databaseUrl, 1)
  try {
    return await createToken(pool, `test-${process.pid}-${++tokens}`, scopes)
  } finally {
    await pool.close()
  }
}

export interface BrokerProcess {
  url: string
  child: ChildProcess
  exited: Promise<unknown>
  /** What it wrote to stderr. */
  log(): string
}

/** A broker in a process of its own, to be killed. `port`: the one of a broker that stood there before. */
export async function brokerProcess(t: Test, databaseUrl: string, overrides: Overrides = {}): Promise<BrokerProcess> {
  const config = { ...QUICK, logLevel: 'warn', ...overrides, databaseUrl }
  const env = Object.fromEntries(Object.entries(config).map(([key, value]) => [settings[key as keyof Config].env, String(value)]))
  const child = spawn(process.execPath, [MAIN, 'broker'], { env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'pipe'] })
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  let text = ''
  const lines = createInterface({ input: child.stderr as NodeJS.ReadableStream })
  const url = await new Promise<string>((resolve, reject) => {
    lines.on('line', (line) => {
      text += `${line}\n`
      const [found] = /http:\/\/[\d.]+:\d+/.exec(line) ?? []
      if (found) resolve(found)
    })
    exited.then(() => reject(new Error(`The broker ended before it served:\n${text}`)), reject)
  })
  return { url, child, exited, log: () => text }
}
