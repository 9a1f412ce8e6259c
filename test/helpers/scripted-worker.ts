import { once } from 'node:events'
import type { Test } from 'tap'
import WebSocket from 'ws'
import { SUBPROTOCOL, type BrokerFrame, type BrokerFrameOf, type WorkerFrameOf } from '../../protocol/src/index.js'

/** A worker that does exactly what a test says, frame by frame, over a real socket. */
export class ScriptedWorker {
  readonly socket: WebSocket
  readonly received: BrokerFrame[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  #read = 0
  #wake: () => void = () => {}

  constructor(url: string, token: string, { protocol = SUBPROTOCOL, headers = {} }: { protocol?: string; headers?: Record<string, string> } = {}) {
    this.socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/worker`, protocol, { headers: { authorization: `Bearer ${token}`, ...headers }, perMessageDeflate: false })
    this.socket.on('message', (data) => {
      this.received.push(JSON.parse(String(data)) as BrokerFrame)
      this.#wake()
    })
    // A refused upgrade is looked at through `refusal`; a dropped socket through `closed`.
    this.socket.on('error', () => {})
    this.closed = new Promise((resolve) => this.socket.once('close', (code, reason) => resolve({ code, reason: String(reason) })))
  }

  /** Connects and waits until the socket is open. */
  static async connect(t: Test, url: string, token: string): Promise<ScriptedWorker> {
    const worker = new ScriptedWorker(url, token)
    t.teardown(() => worker.socket.terminate())
    await once(worker.socket, 'open')
    return worker
  }

  /** Connects, says hello, and waits for the welcome. */
  static async hello(t: Test, url: string, token: string, hello: Partial<WorkerFrameOf['hello']> = {}): Promise<ScriptedWorker & { welcome: BrokerFrameOf['welcome'] }> {
    const worker = await ScriptedWorker.connect(t, url, token)
    worker.send(helloFrame(hello))
    return Object.assign(worker, { welcome: await worker.next('welcome') })
  }

  send(frame: object): void {
    this.socket.send(JSON.stringify(frame))
  }

  /** The next frame of this kind; others before it are passed over. */
  async next<T extends BrokerFrame['t']>(kind: T, withinMs = 5_000): Promise<BrokerFrameOf[T]> {
    const end = performance.now() + withinMs
    for (;;) {
      while (this.#read < this.received.length) {
        const frame = this.received[this.#read++] as BrokerFrame
        if (frame.t === kind) return frame as BrokerFrameOf[T]
      }
      const left = end - performance.now()
      if (left <= 0) throw new Error(`No frame "${kind}" within ${withinMs} ms; received: ${this.received.map(({ t }) => t).join(', ')}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  /** The socket is cut, without a goodbye. */
  drop(): void {
    this.socket.terminate()
  }
}

export function helloFrame(hello: Partial<WorkerFrameOf['hello']> = {}): WorkerFrameOf['hello'] {
  return { t: 'hello', worker: 'scripted', instance: 'one', sdk: { name: 'test', version: '1', lang: 'js' }, caps: ['resume'], subs: [{ queues: ['default'], window: 10 }], held: [], ...hello }
}

/** The HTTP answer to an upgrade that is refused. */
export async function refusal(url: string, token: string, options: ConstructorParameters<typeof ScriptedWorker>[2] = {}): Promise<{ status: number; code: string }> {
  const { socket } = new ScriptedWorker(url, token, options)
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, import('node:http').IncomingMessage]
  let body = ''
  for await (const chunk of response) body += String(chunk)
  return { status: response.statusCode ?? 0, code: (JSON.parse(body) as { code: string }).code }
}
