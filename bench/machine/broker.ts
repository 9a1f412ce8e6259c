import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Pool } from '../../server/src/db/pool.js'
import { createToken } from '../../server/src/http/tokens.js'

const MAIN = fileURLToPath(new URL('../../server/src/cli/main.js', import.meta.url))

/** Our broker, as people start it: `reproq broker --migrate`. */
export class BrokerProcess {
  readonly url: string
  /** As in production: every request is authenticated. */
  readonly token: string
  readonly #process: ChildProcess

  static readonly #living = new Set<ChildProcess>()

  private constructor(process: ChildProcess, url: string, token: string) {
    this.#process = process
    this.url = url
    this.token = token
  }

  static async start(databaseUrl: string, nodeArgs: readonly string[] = [], env: Record<string, string> = {}): Promise<BrokerProcess> {
    const child = spawn(process.execPath, [...nodeArgs, MAIN, 'broker', '--migrate'], {
      env: { ...process.env, REPROQ_DATABASE_URL: databaseUrl, REPROQ_PORT: '0', ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    BrokerProcess.#living.add(child)
    child.once('exit', () => BrokerProcess.#living.delete(child))
    const url = await urlOf(child)
    return new BrokerProcess(child, url, await tokenOf(databaseUrl))
  }

  /** When there is no time left to stop them. */
  static killAll(): void {
    for (const child of BrokerProcess.#living) child.kill('SIGKILL')
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return
    const exited = once(this.#process, 'exit')
    const late = setTimeout(() => this.#process.kill('SIGKILL'), 15_000)
    this.#process.kill('SIGTERM')
    await exited
    clearTimeout(late)
  }
}

async function tokenOf(databaseUrl: string): Promise<string> {
  const pool = new Pool(databaseUrl, 1)
  try {
    return await createToken(pool, 'bench', ['admin'])
  } finally {
    await pool.close()
  }
}

/** What it writes when it serves. The lines after that are read and dropped, so that its pipe never fills. */
function urlOf(child: ChildProcess): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      if (text.length < 4_000) text += `${line}\n`
      const [url] = /http:\/\/[\d.]+:\d+/.exec(line) ?? []
      if (url) resolve(url)
    })
    child.once('exit', () => reject(new Error(`The broker ended before it served\n${text}`)))
  })
}
