import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { Output } from './output.js'
import { signalGroup } from './signal-group.js'
import type { Running, StartOptions } from './subject.js'
import { within } from './within.js'

interface Forked {
  output: Output
  sockets: Socket[]
  ended: (end: { code: number | null; signal: string | null }) => void
  closed: () => void
}

interface Reply {
  t?: string
  id?: string
  pid?: number
  code?: number
  signal?: string
}

const STREAMS = { 1: 'stdout', 2: 'stderr', 3: 'channel' } as const

/** A worker's side of the zygote contract: one zygote, and the processes it forks. */
export class ZygoteHost {
  readonly #folder = mkdtempSync('/tmp/reproq-conform-')
  readonly #server = createServer((socket) => this.#accept(socket))
  readonly #zygote: Promise<Running>
  readonly #forked = new Map<string, Forked>()
  readonly #replies: Reply[] = []
  #read = 0
  #given = 0

  constructor(start: (env: Record<string, string>) => Running) {
    const path = join(this.#folder, 'runs')
    this.#zygote = new Promise((resolve) => this.#server.listen(path, () => resolve(start({ REPROQ_ZYGOTE_SOCKET: path }))))
    void this.#zygote.then(({ output }) => output.when(() => this.#take(output)))
  }

  async fork({ args = [], stdin, env = {} }: StartOptions): Promise<Running> {
    const zygote = await this.#zygote
    await within(zygote.output.when(() => this.#replies.some(({ t }) => t === 'ready')), 'The zygote was not ready')
    const id = String(++this.#given)
    const output = new Output()
    const forked: Forked = { output, sockets: [], ended: () => {}, closed: () => {} }
    const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => (forked.ended = resolve))
    const closed = new Promise<void>((resolve) => (forked.closed = resolve))
    this.#forked.set(id, forked)
    zygote.write(`${JSON.stringify({ t: 'fork', id, args, stdin, env })}\n`)
    const reply = () => this.#replies.find((each) => each.t === 'forked' && each.id === id)
    await within(zygote.output.when(() => reply() !== undefined), 'The zygote did not fork')
    const pid = reply()?.pid ?? 0
    const channel = () => forked.sockets.find((socket) => socket.listenerCount('channel') > 0)
    return { output, ended, closed, signal: (signal) => signalGroup(pid, signal), write() {}, endInput() {}, answer: (text) => void channel()?.write(text), closeChannel: () => void channel()?.destroy() }
  }

  end(): void {
    this.#server.close()
    void this.#zygote.then((zygote) => zygote.endInput())
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Never satisfied: it looks at every line that comes. */
  #take({ lines }: Output): false {
    for (; this.#read < lines.length; this.#read++) {
      const reply = JSON.parse(String(lines[this.#read])) as Reply
      this.#replies.push(reply)
      if (reply.t === 'exited') this.#forked.get(reply.id ?? '')?.ended({ code: reply.code ?? null, signal: reply.signal ?? null })
    }
    return false
  }

  #accept(socket: Socket): void {
    let header = ''
    socket.on('error', () => {})
    const read = (chunk: Buffer) => {
      header += chunk.toString('latin1')
      const end = header.indexOf('\n')
      if (end === -1) return
      socket.off('data', read)
      this.#attach(socket, header.slice(0, end), Buffer.from(header.slice(end + 1), 'latin1'))
    }
    socket.on('data', read)
  }

  #attach(socket: Socket, header: string, rest: Buffer): void {
    const [id = '', descriptor] = header.split(' ')
    const forked = this.#forked.get(id)
    const stream = STREAMS[Number(descriptor) as keyof typeof STREAMS]
    if (!forked || !stream) return void socket.destroy()
    forked.sockets.push(socket)
    if (stream === 'channel') socket.on('channel', () => {})
    if (rest.length > 0) forked.output.push(stream, rest)
    socket.on('data', (chunk: Buffer) => forked.output.push(stream, chunk))
    socket.on('close', () => forked.sockets.length === 3 && forked.sockets.every(({ closed }) => closed) && forked.closed())
  }
}
