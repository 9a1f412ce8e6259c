import { spawn, type ChildProcess } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { Output } from './output.js'
import { signalGroup } from './signal-group.js'
import { ZygoteHost } from './zygote-host.js'

export interface SubjectOptions {
  mode: 'one-shot' | 'loop' | 'zygote'
  command: readonly string[]
  cwd: string | undefined
  env: Readonly<Record<string, string>>
}

/** A process of the executor under test, with everything it writes. */
export interface Running {
  readonly output: Output
  readonly ended: Promise<{ code: number | null; signal: string | null }>
  /** Resolves when all of its output has been read. */
  readonly closed: Promise<unknown>
  /** To its process group. */
  signal(signal: NodeJS.Signals): void
  write(text: string): void
  endInput(): void
  /** Writes on the result channel, which goes both ways. */
  answer(text: string): void
  /** As if the worker had died: our end of the result channel is closed. */
  closeChannel(): void
}

export interface StartOptions {
  /** Beside the executor's command. */
  args?: readonly string[]
  stdin?: string
  env?: Readonly<Record<string, string>>
  /** `false`: no result channel is offered. */
  offer?: boolean
}

/** The executor under test: starts its processes, and ends all of them. */
export class Subject {
  readonly mode: SubjectOptions['mode']
  readonly #options: SubjectOptions
  readonly #started = new Set<ChildProcess>()
  #zygote: ZygoteHost | undefined

  constructor(options: SubjectOptions) {
    this.mode = options.mode
    this.#options = options
  }

  /** A process that will run one attempt: started, or forked. */
  async attempt(options: StartOptions): Promise<Running> {
    if (this.mode !== 'zygote') return this.start(options)
    this.#zygote ??= this.zygote()
    return this.#zygote.fork(options)
  }

  /** Another zygote, which whoever asked for it ends. */
  zygote(): ZygoteHost {
    return new ZygoteHost((env) => this.start({ env }))
  }

  start({ args = [], stdin, env = {}, offer = true }: StartOptions = {}): Running {
    const { command, cwd, env: common } = this.#options
    const [program = '', ...first] = command
    const child = spawn(program, [...first, ...args], {
      cwd,
      detached: true,
      env: { ...process.env, ...common, ...env, ...(offer && { REPROQ_RESULT_FD: '3' }), REPROQ_PROTOCOLS: '1' },
      stdio: ['pipe', 'pipe', 'pipe', offer ? 'pipe' : 'ignore'],
    })
    this.#started.add(child)
    if (stdin !== undefined) child.stdin?.end(stdin)
    return running(child)
  }

  async end(): Promise<void> {
    this.#zygote?.end()
    for (const { pid } of this.#started) if (pid !== undefined) signalGroup(pid, 'SIGKILL')
  }
}

function running(child: ChildProcess): Running {
  const output = new Output()
  const channel = child.stdio[3] as Duplex | null
  child.stdout?.on('data', (chunk: Buffer) => output.push('stdout', chunk))
  child.stderr?.on('data', (chunk: Buffer) => output.push('stderr', chunk))
  channel?.on('data', (chunk: Buffer) => output.push('channel', chunk)).on('error', () => {})
  child.stdin?.on('error', () => {})
  return {
    output,
    ended: new Promise((resolve, reject) => child.once('exit', (code, signal) => resolve({ code, signal })).once('error', reject)),
    closed: new Promise((resolve) => child.once('close', resolve)),
    signal: (signal) => child.pid !== undefined && signalGroup(child.pid, signal),
    write: (text) => void child.stdin?.write(text),
    endInput: () => void child.stdin?.end(),
    answer: (text) => void channel?.write(text),
    closeChannel: () => void channel?.destroy(),
  }
}
