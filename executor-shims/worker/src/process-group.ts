import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import type { Writable } from 'node:stream'
import { hasMembers } from './group-members.js'
import { ProcessSignals } from './process-signals.js'

/** Without a code and a signal nobody can say how it ended. */
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

/** A child process that leads a session and process group of its own, so that its descendants end with it. POSIX only. */
export class ProcessGroup {
  readonly child: ChildProcess
  /** Settles when the leader is gone, whoever else lives and whatever pipe is still open. */
  readonly ended: Promise<Ending>
  /** Settles when the leader is gone and every pipe has been closed by everybody who held it. */
  readonly closed: Promise<void>
  readonly #signals = new ProcessSignals()

  /** Throws what `spawn` throws for arguments no system accepts. */
  constructor(argv: readonly string[], options: GroupOptions) {
    const [command = '', ...args] = argv
    this.child = spawn(command, args, { ...options, detached: true })
    this.#signals.started(this.id)
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
    this.#signals.terminate(graceMs)
  }

  kill(): void {
    this.#signals.kill()
  }

  /** Kills what the leader left behind. Returns the process ids that survived even that. */
  clear(): Promise<number[]> {
    return this.#signals.clear()
  }

  /** On descriptor 3, which is a socket and goes both ways. */
  answer(line: string): void {
    const socket = this.child.stdio[3] as Writable | null | undefined
    if (socket?.writable) socket.write(line)
  }

  /** Closes our ends of its pipes. */
  release(): void {
    for (const stream of this.child.stdio) stream?.destroy()
  }

  /** Asked at once, while the id cannot have been given to anybody else. Members that remain keep it taken. */
  #leaderLeft(): void {
    if (this.id === undefined || !hasMembers(this.id)) this.#signals.emptied()
  }
}
