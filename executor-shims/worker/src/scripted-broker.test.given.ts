import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import { parseWorkerFrame, SUBPROTOCOL, type BrokerFrame, type LeasedRun, type Verdict, type WorkerFrame, type WorkerFrameOf } from '../../../protocol/src/index.js'
import { Changes } from './changes.js'

/** Longer than anything here takes; a test that waits this long has failed. */
const BOUND_MS = 5_000

/** Heartbeats are quick, and no deadline passes while a test reconnects. */
export const TERMS = { hb_ms: 50, lease_ms: 30_000, safety_ms: 50, reconnect_ms: 30_000 }
/** For tests of the deadline itself. */
export const SHORT_TERMS = { hb_ms: 50, lease_ms: 500, safety_ms: 50, reconnect_ms: 200 }
export const LIMITS = { frame: 65_536, payload: 32_768, output: 16_384, window: 100, batch: 10 }

/** One connection of a worker, as the broker of the test sees it. Heartbeats are answered aside unless told otherwise. */
export class Conversation {
  readonly request: IncomingMessage
  readonly #socket: WebSocket
  readonly #frames: WorkerFrame[] = []
  readonly #changes = new Changes()
  /** Every heartbeat that came. */
  readonly heartbeats: WorkerFrameOf['hb'][] = []
  /** What every heartbeat is answered with; undefined: nothing. */
  answerHeartbeat: ((hb: WorkerFrameOf['hb']) => BrokerFrame | undefined) = ({ n }) => ({ t: 'hb_ack', n, ok: true, lost: [], cancel: [] })
  closedWith: number | undefined

  constructor(socket: WebSocket, request: IncomingMessage) {
    this.request = request
    this.#socket = socket
    socket.on('message', (data) => this.#read(data.toString()))
    socket.on('close', (code) => {
      this.closedWith = code
      this.#changes.happened()
    })
  }

  #read(text: string) {
    const parsed = parseWorkerFrame(text)
    if (!parsed.ok) throw new Error(`The worker sent an illegal frame: ${parsed.message}\n${text.slice(0, 500)}`)
    const { frame } = parsed
    if (frame.t === 'hb') {
      this.heartbeats.push(frame)
      const answer = this.answerHeartbeat(frame)
      if (answer) this.send(answer)
    } else this.#frames.push(frame)
    this.#changes.happened()
  }

  /** The next frame that is no heartbeat; it must be this one. */
  async expect<T extends WorkerFrame['t']>(t: T): Promise<Extract<WorkerFrame, { t: T }>> {
    await this.until(() => this.#frames.length > 0, `a "${t}" frame`)
    const frame = this.#frames.shift() as WorkerFrame
    if (frame.t !== t) throw new Error(`Expected "${t}", the worker sent ${JSON.stringify(frame)}`)
    return frame as Extract<WorkerFrame, { t: T }>
  }

  /** Frames, but for heartbeats, that were not asked for yet. */
  get unread(): readonly WorkerFrame[] {
    return this.#frames
  }

  async until(isSo: () => boolean, what: string): Promise<void> {
    if (!(await this.#changes.until(isSo, BOUND_MS))) throw new Error(`Waited in vain for ${what}; unread: ${JSON.stringify(this.#frames)}`)
  }

  /** So many heartbeats from now on: everything the worker sent before them has been read. */
  async beats(count: number): Promise<void> {
    const target = this.heartbeats.length + count
    await this.until(() => this.heartbeats.length >= target, `${count} heartbeats`)
  }

  closed(): Promise<void> {
    return this.until(() => this.closedWith !== undefined, 'the end of the connection')
  }

  send(frame: BrokerFrame): void {
    this.#socket.send(JSON.stringify(frame))
  }

  sendText(text: string): void {
    this.#socket.send(text)
  }

  welcome(fields: Partial<Extract<BrokerFrame, { t: 'welcome' }>> = {}): void {
    this.send({ t: 'welcome', session: '7', key: 'secret', conn: 1, resumed: false, caps: ['resume'], ...TERMS, limits: LIMITS, verdicts: [], refused: [], ...fields })
  }

  /** Takes hello, welcomes, and says what it was. */
  async greet(fields: Partial<Extract<BrokerFrame, { t: 'welcome' }>> = {}): Promise<WorkerFrameOf['hello']> {
    const hello = await this.expect('hello')
    this.welcome(fields)
    return hello
  }

  close(code: number): void {
    this.#socket.close(code)
  }

  /** The cable is cut: no close frame. */
  cut(): void {
    this.#socket.terminate()
  }
}

/** A broker that only does what the test says. */
export class ScriptedBroker {
  readonly url: string
  readonly #server: ReturnType<typeof createServer>
  readonly #all = new Set<Conversation>()
  readonly #arrived: Conversation[] = []
  readonly #waiting: ((conversation: Conversation) => void)[] = []
  /** Answers the next upgrades with these instead; when it is empty they are accepted. */
  readonly refusals: { status: number; headers?: Record<string, string>; body?: string }[] = []
  upgrades = 0

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false) })
    server.on('upgrade', (request, socket, head) => {
      this.upgrades++
      const refusal = this.refusals.shift()
      if (!refusal) return sockets.handleUpgrade(request, socket, head, (ws) => this.#arrive(new Conversation(ws, request)))
      const { status, headers = {}, body = '' } = refusal
      const lines = Object.entries({ ...headers, 'content-length': String(body.length), connection: 'close' }).map(([name, value]) => `${name}: ${value}\r\n`)
      socket.end(`HTTP/1.1 ${status} Refused\r\n${lines.join('')}\r\n${body}`)
    })
  }

  static async start(t: { teardown(end: () => unknown): void }): Promise<ScriptedBroker> {
    const server = createServer((_request, response) => response.writeHead(404).end())
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const broker = new ScriptedBroker(server)
    t.teardown(() => broker.stop())
    return broker
  }

  /** Takes no more connections, and cuts those there are. */
  stop(): void {
    this.#server.close()
    this.#server.closeAllConnections()
    for (const conversation of this.#all) conversation.cut()
  }

  #arrive(conversation: Conversation) {
    this.#all.add(conversation)
    const next = this.#waiting.shift()
    if (next) next(conversation)
    else this.#arrived.push(conversation)
  }

  /** The next connection of a worker. */
  async connection(): Promise<Conversation> {
    const arrived = this.#arrived.shift()
    if (arrived) return arrived
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('No worker connected')), BOUND_MS)
      this.#waiting.push((conversation) => {
        clearTimeout(timer)
        resolve(conversation)
      })
    })
  }
}

/** A lease id that tells the runs of a test apart. */
export function leaseId(run: number): string {
  return `00000000-0000-4000-8000-${String(run).padStart(12, '0')}`
}

export function leased(run: number, task: string, fields: Partial<LeasedRun> = {}): LeasedRun {
  const spec = JSON.stringify({ task_path: task, args: [run], kwargs: {} })
  return { l: run, lease: leaseId(run), run: String(run), task, queue: 'default', attempt: 1, max_attempts: 3, timeout_ms: 60_000, cancel_grace_ms: 1_000, spec, ...fields }
}

export function verdict(run: number, verdict: Verdict['verdict'], l?: number): Verdict {
  return { run: String(run), lease: leaseId(run), verdict, ...(l !== undefined && { l }) }
}
