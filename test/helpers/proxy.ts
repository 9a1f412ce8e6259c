import { once } from 'node:events'
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

interface Pair {
  client: Socket
  server: Socket
  /** The first bytes the client sent: who it is. */
  greeting: string
  isDead: boolean
}

/** A TCP connection in the middle that can misbehave as networks do. */
export class Proxy {
  /** Where connections go from now on. */
  targetPort: number
  /** A connection whose client says something that satisfies this is reset instead of carrying it. */
  resetsAt: (text: string) => boolean = () => false
  readonly #pairs = new Set<Pair>()
  #server: Server | undefined
  #port = 0

  constructor(targetPort: number) {
    this.targetPort = targetPort
  }

  get port(): number {
    return this.#port
  }

  /** Takes connections, on the port it had before if it had one. */
  async open(): Promise<void> {
    this.#server = createServer((client) => this.#join(client)).listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Refuses new connections; those that stand, stand. */
  refuse(): void {
    this.#server?.close()
  }

  /** Ends every connection with a reset, in the middle of whatever is said. Returns how many there were. */
  resetAll(): number {
    const pairs = [...this.#pairs]
    for (const { client, server } of pairs) for (const socket of [client, server]) reset(socket)
    return pairs.length
  }

  /** Connections whose first bytes satisfy `which` stay up and carry nothing any more. Returns how many. */
  blackhole(which: (greeting: string) => boolean): number {
    const pairs = [...this.#pairs].filter(({ greeting }) => which(greeting))
    for (const pair of pairs) pair.isDead = true
    return pairs.length
  }

  close(): void {
    this.refuse()
    for (const { client, server } of this.#pairs) for (const socket of [client, server]) socket.destroy()
  }

  #join(client: Socket) {
    const server = connect(this.targetPort, '127.0.0.1')
    const pair: Pair = { client, server, greeting: '', isDead: false }
    this.#pairs.add(pair)
    client.setNoDelay(true)
    server.setNoDelay(true)
    client.on('data', (data) => {
      const text = data.toString('latin1')
      if (pair.greeting === '') pair.greeting = text
      if (this.resetsAt(text)) return reset(client)
      if (!pair.isDead) server.write(data)
    })
    server.on('data', (data) => pair.isDead || client.write(data))
    const end = () => {
      this.#pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) socket.on('error', end).on('close', end)
  }
}

/** A socket that is being opened or shut cannot be reset: Node 20 loses its handle then, and spins at its own exit. */
function reset(socket: Socket): void {
  if (socket.readyState === 'open' && !socket.writableEnded) socket.resetAndDestroy()
  else socket.destroy()
}

/** A proxy in front of a port of this machine, open, closed when `t` ends. */
export async function testProxy(t: Test, targetPort: number): Promise<Proxy> {
  const proxy = new Proxy(targetPort)
  await proxy.open()
  t.teardown(() => proxy.close())
  return proxy
}
