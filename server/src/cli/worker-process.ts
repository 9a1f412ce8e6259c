import { type ChildProcess, spawn } from 'node:child_process'
import { delimiter } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface WorkerProcessOptions {
  name: string
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

const LAST_WORDS_MS = 500
const MAIN = fileURLToPath(new URL('main.js', import.meta.url))

/** `reproq worker` as a child: the same program as a remote one. What it prints is printed here. */
export class WorkerProcess {
  /** Resolves, when it has ended, to its exit code: null after a signal. */
  readonly ended: Promise<number | null>
  readonly #child: ChildProcess
  #said = ''
  #isDraining = false

  constructor({ name, url, token, python, tasks, allowTasks, pythonPath, cwd }: WorkerProcessOptions) {
    const args = ['worker', '--url', url, '--quiet', '--name', name, ...tasks.flatMap((pattern) => ['--tasks', pattern])]
    if (python !== undefined) args.push('--python', python, '--allow-tasks', allowTasks.join(','), '--watch')
    this.#child = spawn(process.execPath, [MAIN, ...args], {
      ...(cwd !== undefined && { cwd }),
      env: { ...(cwd === undefined ? process.env : withoutSettings()), REPROQ_TOKEN: token, PYTHONPATH: [...pythonPath, process.env.PYTHONPATH ?? ''].filter(Boolean).join(delimiter) },
      // Its own group: a Ctrl-C of the terminal is for us, and we stop it in order. The channel tells it when we are gone.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.on('data', (chunk: Buffer) => this.#hear(chunk))
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (code) => {
        // Its last words may still be on their way; a process that it leaves behind may hold the pipe for ever.
        setTimeout(() => resolve(code), LAST_WORDS_MS)
        this.#child.once('close', () => resolve(code))
      })
      // It could not be started. The end of one that was is told by its exit: a message that did not arrive is an error too, and each of many.
      this.#child.on('error', () => {
        if (this.#child.pid === undefined) resolve(1)
      })
    })
  }

  /** What it does not serve itself, it leaves to the workers of these queues. */
  leaveToOthers(queuesOfOthers: string[]): void {
    if (this.#child.connected) this.#child.send({ queuesOfOthers })
  }

  /** Lets it finish what runs, for as long as it takes of itself (--drain-ms). Asked twice it would not. */
  async drain(): Promise<void> {
    if (!this.#isDraining) this.#child.kill('SIGTERM')
    this.#isDraining = true
    await this.ended
  }

  /** Does not wait for anything. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** That it has ended with `code`, with its last words. */
  fault(code: number | null): Error {
    return Object.assign(new Error(`The worker ended with ${code}\n${this.#said}`), { code: 'WORKER_ENDED', hint: 'its own words are above' })
  }

  #hear(chunk: Buffer) {
    this.#said = (this.#said + chunk.toString()).slice(-4_096)
    process.stderr.write(chunk)
  }
}

function withoutSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('REPROQ_')))
}
