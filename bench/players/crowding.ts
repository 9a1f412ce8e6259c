import { once } from 'node:events'
import WebSocket from 'ws'
import { SUBPROTOCOL, type BrokerFrame, type WorkerFrame } from '../../protocol/src/index.js'
import type { Command } from './conductor.js'
import { Count } from './count.js'
import type { PlayerConfig } from './player.js'

/** Links are opened this many at a time. */
const OPENING = 20

/** The commands of a crowd: many bare links in one process, so that what is measured is the broker. */
export function crowding({ broker }: PlayerConfig): Record<string, Command> {
  if (!broker) throw new Error('A crowd needs a broker')
  const count = new Count()
  const links: BareLink[] = []
  return {
    async connect({ links: wanted = 1, window = 10, hold = 0 }) {
      while (links.length < wanted) {
        const fresh = Array.from({ length: Math.min(OPENING, wanted - links.length) }, (_, index) => new BareLink(broker, links.length + index, window, hold === 1, count))
        await Promise.all(fresh.map((link) => link.welcomed))
        links.push(...fresh)
      }
    },
    ran: ({ count: total = 0 }) => count.until(total),
    async forget({ mark = 1 }) {
      count.forget(mark)
    },
    async stop() {
      await Promise.all(links.map((link) => link.leave()))
    },
  }
}

/** Speaks the protocol and does nothing else: answers every run at once, or (`hold`) accepts it and lets it run for ever. */
class BareLink {
  readonly welcomed: Promise<void>
  readonly #socket: WebSocket
  readonly #hold: boolean
  readonly #count: Count
  readonly #held: number[] = []
  #beats = 0
  #beating: NodeJS.Timeout | undefined
  #greeted: () => void = () => {}

  constructor(broker: { url: string; token: string }, number: number, window: number, hold: boolean, count: Count) {
    this.#hold = hold
    this.#count = count
    this.welcomed = new Promise((resolve) => (this.#greeted = resolve))
    const headers = { authorization: `Bearer ${broker.token}` }
    this.#socket = new WebSocket(`${broker.url.replace(/^http/, 'ws')}/v1/worker`, SUBPROTOCOL, { headers, perMessageDeflate: false })
    this.#socket.on('open', () => this.#hello(number, window))
    this.#socket.on('message', (data) => this.#received(JSON.parse(String(data)) as BrokerFrame))
    this.#socket.on('close', () => clearInterval(this.#beating))
  }

  async leave(): Promise<void> {
    clearInterval(this.#beating)
    if (this.#socket.readyState === WebSocket.CLOSED) return
    this.#socket.terminate()
    await once(this.#socket, 'close')
  }

  #hello(number: number, window: number) {
    const sdk = { name: 'bench', version: '1', lang: 'js' }
    this.#send({ t: 'hello', worker: `crowd-${number}`, instance: `${process.pid}-${number}`, sdk, caps: ['resume'], subs: [{ queues: ['default'], window }], held: [] })
  }

  #received(frame: BrokerFrame) {
    if (frame.t === 'welcome') {
      this.#beating = setInterval(() => this.#send({ t: 'hb', n: ++this.#beats, held: this.#held }), frame.hb_ms)
      this.#greeted()
    } else if (frame.t === 'runs') this.#took(frame.items.map(({ l }) => l))
    else if (frame.t === 'error') throw new Error(frame.message)
  }

  #took(handles: number[]) {
    this.#send({ t: 'accept', l: handles })
    for (const _ of handles) this.#count.ran(0)
    if (this.#hold) this.#held.push(...handles)
    else this.#send({ t: 'result', items: handles.map((l) => ({ l, outcome: 'ok', output: '1' })) })
  }

  #send(frame: WorkerFrame) {
    this.#socket.send(JSON.stringify(frame))
  }
}
