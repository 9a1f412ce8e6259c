import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { temporaryFolder } from '../machine/folders.js'

/** What each of the clients does `perClient` times. In pgbench's language, of which `loop` knows as much as we use. */
export interface Script {
  text: string
  perClient: number
  clients: number
}

/** The broker's own setting: with it the triggers for foreign writers stay out of the way. */
const OPTIONS = '-c reproq.internal=on'

let found: boolean | undefined
export function canPgbench(): boolean {
  found ??= spawnSync('pgbench', ['--version'], { stdio: 'ignore' }).status === 0
  return found
}

/** Seconds it took, connecting not included. */
export async function pgbench(url: string, { text, perClient, clients }: Script): Promise<number> {
  const folder = temporaryFolder('pgbench')
  try {
    const file = join(folder, 'script.sql')
    writeFileSync(file, text)
    const args = ['-n', '-M', 'prepared', '-c', String(clients), '-j', String(clients), '-t', String(perClient), '-f', file, url]
    const child = spawn('pgbench', args, { env: { ...process.env, PGOPTIONS: OPTIONS }, stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += String(chunk)))
    child.stderr.on('data', (chunk: Buffer) => (said += String(chunk)))
    await once(child, 'close')
    const [, perSecond] = /^tps = ([\d.]+)/m.exec(said) ?? []
    if (!perSecond || /aborted/.test(said)) throw new Error(`pgbench failed\n${said}`)
    return (perClient * clients) / Number(perSecond)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The same where pgbench is missing: prepared statements in a loop, `clients` connections. */
export async function loop(url: string, { text, perClient, clients }: Script): Promise<number> {
  const statements = statementsOf(text)
  const connections = await Promise.all(Array.from({ length: clients }, () => connect(url)))
  const started = performance.now()
  await Promise.all(connections.map((connection) => turnsOf(connection, statements, perClient)))
  const seconds = (performance.now() - started) / 1_000
  await Promise.all(connections.map((connection) => connection.end()))
  return seconds
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, options: OPTIONS })
  await client.connect()
  return client
}

interface Statement {
  name: string
  text: string
  takesIds: boolean
}

async function turnsOf(client: pg.Client, statements: Statement[], turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    let ids: unknown[] = []
    for (const { name, text, takesIds } of statements) {
      const { rows } = await client.query<{ ids?: unknown[] }>({ name, text, values: takesIds ? [ids] : [] })
      ids = rows[0]?.ids ?? ids
    }
  }
}

/** A statement ends with a semicolon, or with \gset, which keeps its `ids` for the next one's `:ids`. */
function statementsOf(text: string): Statement[] {
  return text
    .replaceAll(/^--.*$/gm, '')
    .split(/;|\\gset/)
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part, index) => ({ name: `turn${index}`, text: part.replace(':ids', '$1'), takesIds: part.includes(':ids') }))
}
