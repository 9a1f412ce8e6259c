import { Tail } from './bounded-output.js'
import type { ForkedProcess } from './forked-process.js'
import { drained, listen } from './launch.js'
import { Lines } from './lines.js'
import { SHUTDOWN_MESSAGE } from './loop-messages.js'
import { ProcessGroup, type Ending } from './process-group.js'
import { StartFailure } from './start-failure.js'
import { ZygoteSockets } from './zygote-sockets.js'

export interface ZygoteOptions {
  command: readonly string[]
  cwd?: string | undefined
  env: NodeJS.ProcessEnv
  startTimeoutMs: number
  /** Receives what the zygote itself prints, while it imports code for example. */
  onOutput: (text: string) => void
}

const STDERR_TAIL_BYTES = 8_192
const STDIO_GRACE_MS = 250
const REPLY_BYTES = 65_536
const PROTOCOL = 1

interface Reply {
  t?: unknown
  protocol?: unknown
  id?: unknown
  pid?: unknown
  code?: unknown
  signal?: unknown
  left?: unknown
  message?: unknown
}

/** A process that forks a fresh process for every run: zygote mode of executor-shims/CONTRACT.md, the worker's side. */
export class ZygoteProcess {
  /** Resolves when it can fork; rejects with StartFailure. */
  readonly ready: Promise<void>
  readonly gone: Promise<void>
  readonly #options: ZygoteOptions
  readonly #sockets = new ZygoteSockets()
  readonly #stderr = new Tail(STDERR_TAIL_BYTES)
  readonly #forks = new Map<string, ForkedProcess>()
  #group: ProcessGroup | undefined
  #settleReady: (error?: unknown) => void = () => {}
  #startTimer: NodeJS.Timeout | undefined
  #given = 0
  #isRetired = false

  constructor(options: ZygoteOptions) {
    this.#options = options
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = (error) => (error === undefined ? resolve() : reject(error))
    })
    this.gone = this.#live()
  }

  /** Forks a process for one run, which may fail. */
  fork(process: ForkedProcess): void {
    const id = String(++this.#given)
    const { args, stdin, env, outlets } = process.launch
    this.#forks.set(id, process)
    process.ordered({ ...this.#sockets.expect(id, outlets), stuck: () => this.kill() })
    this.#send(`${JSON.stringify({ t: 'fork', id, args, stdin, env })}\n`)
    // Behind `ended`, so that nobody has to think of it.
    void process.ended.then(() => this.#left(id))
  }

  /** Forks no more, and ends when the last run is over. */
  retire(): void {
    this.#isRetired = true
    this.#endWhenIdle()
  }

  /** Also for the last moment of this process: what it forked is not in its group. */
  kill(): void {
    this.#group?.kill()
    for (const process of this.#forks.values()) process.kill()
    this.#sockets.removeFolder()
  }

  async #live(): Promise<void> {
    try {
      await this.#sockets.listen()
      const ending = await this.#start().ended
      await drained(this.#group as ProcessGroup, STDIO_GRACE_MS)
      await this.#group?.clear()
      this.#settleReady('failure' in ending ? new StartFailure(ending.failure, '') : StartFailure.ofExit(ending.exit, this.#stderr.text))
    } catch (error) {
      this.#settleReady(error)
    } finally {
      clearTimeout(this.#startTimer)
      this.#abandon()
    }
  }

  #start(): { ended: Promise<Ending> } {
    const { command, cwd, env, startTimeoutMs, onOutput } = this.#options
    const group = new ProcessGroup(command, { cwd, env: { ...env, REPROQ_RESULT_FD: '3', REPROQ_PROTOCOLS: '1', REPROQ_EXTEND: '1', REPROQ_ZYGOTE_SOCKET: this.#sockets.path }, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] })
    this.#group = group
    this.#startTimer = setTimeout(() => this.#failToStart(`it was not ready within ${startTimeoutMs} ms`), startTimeoutMs)
    const lines = new Lines(REPLY_BYTES, (line) => this.#take(line), () => group.kill())
    const print = (chunk: Buffer) => onOutput(chunk.toString('utf8'))
    listen(group, { channel: (chunk) => lines.push(chunk), stdout: print, stderr: (chunk) => [this.#stderr.push(chunk), print(chunk)] })
    group.child.stdin?.on('error', () => {})
    return group
  }

  #take(line: Buffer): void {
    const reply = replyOf(line)
    if (reply === undefined) return this.#group?.kill()
    const process = this.#forks.get(String(reply.id))
    if (reply.t === 'ready') this.#greet(reply)
    else if (reply.t === 'forked' && typeof reply.pid === 'number') process?.forked(reply.pid)
    else if (reply.t === 'exited') process?.exited({ ...(typeof reply.code === 'number' && { code: reply.code }), ...(typeof reply.signal === 'string' && { signal: reply.signal }) }, reply.left === true)
    else if (reply.t === 'failed') process?.failed(Object.assign(new Error(String(reply.message)), { code: reply.code }))
  }

  #greet({ protocol }: Reply): void {
    clearTimeout(this.#startTimer)
    if (protocol === PROTOCOL) this.#settleReady()
    else this.#failToStart(`it speaks version ${JSON.stringify(protocol)} of the zygote contract, this worker version ${PROTOCOL}`)
  }

  #failToStart(reason: string): void {
    this.#settleReady(new StartFailure(reason, this.#stderr.text))
    this.#group?.kill()
  }

  /** Without their parent nobody learns how the runs end: they are killed, and what they had answered counts. */
  #abandon(): void {
    for (const process of this.#forks.values()) {
      process.kill()
      process.exited({}, true)
    }
    this.#sockets.close()
  }

  #left(id: string): void {
    this.#forks.delete(id)
    this.#endWhenIdle()
  }

  #endWhenIdle(): void {
    if (!this.#isRetired || this.#forks.size > 0) return
    this.#send(SHUTDOWN_MESSAGE)
    this.#group?.child.stdin?.end()
  }

  #send(text: string): void {
    const stdin = this.#group?.child.stdin
    if (stdin?.writable) stdin.write(text)
  }
}

function replyOf(line: Buffer): Reply | undefined {
  try {
    const reply: unknown = JSON.parse(line.toString('utf8'))
    return typeof reply === 'object' && reply !== null ? reply : undefined
  } catch {
    return undefined
  }
}
