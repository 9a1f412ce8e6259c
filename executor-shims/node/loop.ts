import { Stop, type Assignment, type StopReason } from '../worker/src/executor.js'
import type { InProcessExecutor } from '../worker/src/in-process.js'
import { Lines } from '../worker/src/lines.js'
import { envelopeMembers, progressMessage } from './answer.js'
import { printed, type Channel } from './channel.js'

/** The payload and a checkpoint, each as JSON in a JSON string, stay well below. */
const LINE_BYTES = 64 * 1_048_576
/** How long a handler may take to stop is for the worker to say: it kills this process. */
const NO_LIMIT_MS = 2_147_483_647

interface Message {
  t?: unknown
  id?: unknown
  n?: unknown
  run?: string
  task?: string
  queue?: string
  attempt?: number
  max_attempts?: number
  timeout_ms?: number
  spec?: string
  checkpoint?: string
  reason?: StopReason
}

/** Runs what the worker asks for until it asks for no more: the loop mode of executor-shims/CONTRACT.md. */
export class Loop {
  readonly #executor: InProcessExecutor
  readonly #channel: Channel
  readonly #running = new Map<string, AbortController>()
  #isEnding = false

  constructor(executor: InProcessExecutor, channel: Channel) {
    this.#executor = executor
    this.#channel = channel
  }

  start(concurrent: boolean): void {
    const lines = new Lines(LINE_BYTES, (line) => this.#take(line), () => process.exit(1))
    process.stdin.on('data', (chunk: Buffer) => lines.push(chunk)).on('end', () => this.#shutDown())
    process.on('SIGTERM', () => (this.#running.size === 0 ? process.exit() : this.#stopAll('cancelled')))
    this.#say({ t: 'ready', protocol: 1, lang: 'node', pid: process.pid, caps: concurrent ? ['progress', 'concurrent'] : ['progress'], kinds: this.#executor.tasks })
  }

  #take(line: Buffer): void {
    const message = messageOf(line)
    if (message.t === 'run' && typeof message.id === 'string') void this.#run(message.id, message)
    else if (message.t === 'cancel' && typeof message.id === 'string') this.#running.get(message.id)?.abort(new Stop(message.reason ?? 'cancelled'))
    else if (message.t === 'ping') this.#say({ t: 'pong', n: message.n })
    else if (message.t === 'shutdown') this.#shutDown()
  }

  async #run(id: string, message: Message): Promise<void> {
    const stopping = new AbortController()
    this.#running.set(id, stopping)
    const hadChildren = hasChildren()
    const assignment = assignmentOf(message)
    const settlement = await this.#executor.execute(assignment, stopping.signal, {
      print() {},
      progress: (progress) => this.#channel.write(progressMessage(progress, id)),
      extend: (timeoutMs) => this.#channel.extend(assignment, timeoutMs, id),
    })
    await printed()
    this.#running.delete(id)
    if (!hadChildren && hasChildren()) this.#say({ t: 'recycle', reason: 'a run left a process behind' })
    this.#channel.write(`{"t":"done","id":${JSON.stringify(id)},${envelopeMembers(settlement)}}`)
    await this.#leaveWhenIdle()
  }

  #stopAll(reason: StopReason): void {
    for (const stopping of this.#running.values()) stopping.abort(new Stop(reason))
  }

  #shutDown(): void {
    this.#isEnding = true
    void this.#leaveWhenIdle()
  }

  async #leaveWhenIdle(): Promise<void> {
    if (!this.#isEnding || this.#running.size > 0) return
    await this.#channel.flushed()
    process.exit()
  }

  #say(message: object): void {
    this.#channel.write(JSON.stringify(message))
  }
}

function messageOf(line: Buffer): Message {
  try {
    const message: unknown = JSON.parse(line.toString('utf8'))
    return typeof message === 'object' && message !== null ? message : {}
  } catch {
    return {}
  }
}

export function assignmentOf({ run = '', task = '', queue = '', attempt = 1, max_attempts = 0, timeout_ms = 0, spec = '', checkpoint }: Message): Assignment {
  return { lease: '', run, task, queue, attempt, max_attempts, timeout_ms, spec, cancel_grace_ms: NO_LIMIT_MS, ...(checkpoint !== undefined && { checkpoint }) }
}

/** Child processes that some code here started and that still live. */
function hasChildren(): boolean {
  return process.getActiveResourcesInfo().includes('ProcessWrap')
}
