import { existsSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Head, LogFeed, Tail } from './bounded-output.js'
import { ENVELOPE_ROOM_BYTES, settle } from './envelope.js'
import type { Assignment, Settlement, Stop } from './executor.js'
import type { ResolvedOptions } from './one-shot.js'
import { layOut, type Payload } from './payload.js'
import { ProcessGroup } from './process-group.js'
import { settleStopped } from './stopped.js'

const RESULT_FD = 3
const STDERR_TAIL_BYTES = 8_192

/** One execution of one run in a process of its own. */
export class Attempt {
  readonly #assignment: Assignment
  readonly #options: ResolvedOptions
  readonly #env: NodeJS.ProcessEnv
  readonly #channel: Head
  readonly #stdout: Head
  readonly #stderr = new Tail(STDERR_TAIL_BYTES)
  #group: ProcessGroup | undefined
  #stop: Stop | undefined
  #over = false

  constructor(assignment: Assignment, options: ResolvedOptions, env: NodeJS.ProcessEnv) {
    this.#assignment = assignment
    this.#options = options
    this.#env = env
    this.#channel = new Head(options.maxOutputBytes + ENVELOPE_ROOM_BYTES)
    this.#stdout = new Head(options.maxOutputBytes + ENVELOPE_ROOM_BYTES)
  }

  async run(): Promise<Settlement> {
    let payload: Payload | undefined
    try {
      payload = await layOut(this.#options.payloadMode, this.#assignment.spec)
      return this.#stop ? settleStopped(this.#stop, this.#assignment) : await this.#execute(payload)
    } catch (error) {
      return this.#notStarted(error)
    } finally {
      await payload?.remove()
    }
  }

  /** Tells the code to stop: SIGTERM, then SIGKILL after the grace; a hard stop kills at once, also during the grace. */
  halt(stop: Stop): void {
    if (this.#over) return
    this.#stop ??= stop
    if (stop.hard) this.#group?.kill()
    else this.#group?.terminate(this.#assignment.cancel_grace_ms)
  }

  async #execute(payload: Payload): Promise<Settlement> {
    const group = this.#start(payload)
    const ending = await group.ended
    this.#over = true
    if ('failure' in ending) return this.#notStarted(ending.failure)
    await this.#drain(group)
    await this.#clear(group)
    const { maxOutputBytes } = this.#options
    const settlement = settle({ channel: this.#channel, stdout: this.#stdout, stderr: this.#stderr.text, exit: ending.exit, maxOutputBytes })
    return this.#stop ? settleStopped(this.#stop, this.#assignment, settlement) : settlement
  }

  #start(payload: Payload): ProcessGroup {
    const { command, cwd } = this.#options
    const { run, attempt } = this.#assignment
    const argv = [...command, '--result-id', run, '--attempt', String(attempt), ...payload.args]
    const stdin = payload.stdin === undefined ? 'ignore' : 'pipe'
    const group = new ProcessGroup(argv, { cwd, env: this.#env, stdio: [stdin, 'pipe', 'pipe', 'pipe'] })
    this.#group = group
    this.#listen(group)
    // EPIPE: the executor did not want to read it all, which is its right.
    group.child.stdin?.on('error', () => {}).end(payload.stdin)
    return group
  }

  #listen({ child }: ProcessGroup): void {
    read(child.stdio[RESULT_FD] as Readable | null, this.#channel)
    read(child.stdout, this.#stdout, this.#logFeed('stdout'))
    read(child.stderr, this.#stderr, this.#logFeed('stderr'))
  }

  #logFeed(stream: 'stdout' | 'stderr'): LogFeed | undefined {
    const { onLog, maxLogBytes } = this.#options
    return onLog && new LogFeed(maxLogBytes, (text) => onLog(this.#assignment, stream, text))
  }

  /** The pipes close when everybody who holds them is gone; a process left behind must not hold the slot by that. */
  async #drain(group: ProcessGroup): Promise<void> {
    const patience = new AbortController()
    await Promise.race([group.closed, sleep(this.#options.stdioGraceMs, undefined, { signal: patience.signal }).catch(() => {})])
    patience.abort()
    for (const stream of group.child.stdio) stream?.destroy()
  }

  async #clear(group: ProcessGroup): Promise<void> {
    const survivors = await group.clear()
    if (survivors.length > 0) this.#options.onOrphans?.(this.#assignment, survivors)
  }

  #notStarted(error: unknown): Settlement {
    this.#over = true
    const { code = '', message } = error as NodeJS.ErrnoException
    const reason = this.#advice(code) ?? message
    return { outcome: 'crashed', error: { class: 'ExecutorNotStarted', message: `The executor ${this.#options.name} could not be started: ${reason}` }, retryable: true }
  }

  #advice(code: string): string | undefined {
    const { command, cwd, name } = this.#options
    // The system reports a missing folder as a missing program.
    if (code === 'ENOENT' && cwd !== undefined && !existsSync(cwd)) return `the folder ${cwd} does not exist. Correct the executor's cwd`
    if (code === 'ENOENT') return `there is no program "${command[0]}". Install it where this worker runs, or correct the command of the executor ${name}`
    if (code === 'EACCES') return `"${command[0]}" may not be executed. Check its permissions`
    if (code === 'EAGAIN' || code === 'EMFILE') return `the system allows no more processes or open files (${code}). Lower the concurrency or raise the limit`
    return undefined
  }
}

function read(stream: Readable | null | undefined, ...sinks: ({ push(chunk: Buffer): void } | undefined)[]): void {
  stream?.on('data', (chunk: Buffer) => sinks.forEach((sink) => sink?.push(chunk)))
  // A pipe that breaks is a pipe that ended: what it brought so far counts.
  stream?.on('error', () => {})
}
