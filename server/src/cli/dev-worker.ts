import { type ChildProcess, spawn } from 'node:child_process'
import { delimiter } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Events } from '../events.js'

export interface DevWorkerOptions {
  url: string
  token: string
  python: string | undefined
  tasks: string[]
  /** Prefixes of the Python tasks it may run. */
  allowTasks: string[]
  /** Folders where Python also looks for modules. */
  pythonPath: string[]
  /** Its own folder, and none of our settings: it does as the options say and nothing else. */
  cwd?: string
}

/** Other workers of this broker are told apart by it. */
const NAME = `dev-${process.pid}`
const MAIN = fileURLToPath(new URL('main.js', import.meta.url))

export function isDevWorker(workerId: string): boolean {
  return workerId.startsWith(`${NAME}#`)
}

/** The worker of `reproq dev`: the same program as a remote one, in a process of its own. */
export class DevWorker {
  readonly #child: ChildProcess
  readonly #exited: Promise<number | null>
  #stopping = false
  #said = ''

  constructor({ url, token, python, tasks, allowTasks, pythonPath, cwd }: DevWorkerOptions) {
    const args = ['worker', '--url', url, '--quiet', '--name', NAME, ...tasks.flatMap((pattern) => ['--tasks', pattern])]
    if (python !== undefined) args.push('--python', python, '--allow-tasks', allowTasks.join(','), '--watch')
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      ...(cwd !== undefined && { cwd }),
      env: { ...(cwd === undefined ? process.env : withoutSettings()), REPROQ_TOKEN: token, PYTHONPATH: [...pythonPath, process.env.PYTHONPATH ?? ''].filter(Boolean).join(delimiter) },
      // Its own group: a Ctrl-C of the terminal is for us, and we stop it in order. The channel tells it when we are gone.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on('data', (chunk: Buffer) => this.#hear(chunk))
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', resolve)
      this.#child.once('error', () => resolve(1))
    })
  }

  /** Resolves when it says hello. Rejects, with what it printed, when it ends before. */
  connected(events: Events): Promise<void> {
    return new Promise((resolve, reject) => {
      const off = events.on('session.opened', ({ workerId }) => {
        if (!isDevWorker(workerId)) return
        off()
        resolve()
      })
      this.failed.catch(reject)
    })
  }

  /** Rejects when the worker ends without having been asked to. */
  get failed(): Promise<never> {
    return this.#exited.then((code) => {
      if (this.#stopping) return new Promise<never>(() => {})
      throw Object.assign(new Error(`The worker ended with ${code}\n${this.#said}`), { code: 'WORKER_ENDED', hint: 'its own words are above' })
    })
  }

  /** What it does not serve itself, it leaves to the workers of these queues. */
  leaveToOthers(queuesOfOthers: string[]): void {
    if (this.#child.connected) this.#child.send({ queuesOfOthers })
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#child.kill('SIGTERM')
    await this.#exited
  }

  /** Does not wait for anything. */
  kill(): void {
    this.#stopping = true
    this.#child.kill('SIGKILL')
  }

  #hear(chunk: Buffer) {
    this.#said = (this.#said + chunk.toString()).slice(-4_096)
    process.stderr.write(chunk)
  }
}

function withoutSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('REPROQ_')))
}
