import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasMembers, livingMembers } from './group-members.js'

export interface Exit {
  code?: number
  signal?: string
}

/** A process that ended, or one that never began. */
export type Ending = { exit: Exit } | { failure: Error }

export interface GroupOptions {
  cwd: string | undefined
  env: NodeJS.ProcessEnv
  stdio: StdioOptions
}

/** How long killed processes may take to disappear before they are reported. */
const CLEAR_MS = 1_000

/** A child process that leads a session and process group of its own, so that its descendants end with it. POSIX only. */
export class ProcessGroup {
  readonly child: ChildProcess
  /** Settles when the leader is gone, whoever else lives and whatever pipe is still open. */
  readonly ended: Promise<Ending>
  /** Settles when the leader is gone and every pipe has been closed by everybody who held it. */
  readonly closed: Promise<void>
  #killTimer: NodeJS.Timeout | undefined
  /** Its id may belong to somebody else now: never signal it again. */
  #gone = false

  /** Throws what `spawn` throws for arguments no system accepts. */
  constructor(argv: readonly string[], options: GroupOptions) {
    const [command = '', ...args] = argv
    this.child = spawn(command, args, { ...options, detached: true })
    this.closed = new Promise((resolve) => this.child.once('close', () => resolve()))
    this.ended = new Promise((resolve) => {
      this.child.once('error', (failure) => resolve({ failure }))
      this.child.once('exit', (code, signal) => {
        this.#leaderLeft()
        resolve({ exit: { ...(code !== null && { code }), ...(signal !== null && { signal }) } })
      })
    })
  }

  get id(): number | undefined {
    return this.child.pid
  }

  /** SIGTERM to the whole group now, SIGKILL after the grace. */
  terminate(graceMs: number): void {
    this.#signal('SIGTERM')
    this.#killTimer ??= setTimeout(() => this.kill(), graceMs)
  }

  kill(): void {
    clearTimeout(this.#killTimer)
    this.#signal('SIGKILL')
  }

  /** Kills what the leader left behind. Returns the process ids that survived even that. */
  async clear(): Promise<number[]> {
    this.kill()
    if (this.#gone || this.id === undefined) return []
    const deadline = performance.now() + CLEAR_MS
    let living = await livingMembers(this.id)
    while (living.length > 0 && performance.now() < deadline) {
      await sleep(5)
      living = await livingMembers(this.id)
    }
    this.#gone = true
    return living
  }

  /** Asked at once, while the id cannot have been given to anybody else. Members that remain keep it taken. */
  #leaderLeft(): void {
    this.#gone = this.id === undefined || !hasMembers(this.id)
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#gone || this.id === undefined) return
    try {
      process.kill(-this.id, signal)
    } catch {
      // Nobody left to signal, or somebody we may not signal: clear() reports those that stay.
    }
  }
}
