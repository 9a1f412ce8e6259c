import { once } from 'node:events'
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

interface Pair {
  client: Socket
  server: Socket
  /** The first bytes the client sent: who it is. */
  greeting: string
}

/** A TCP connection in the middle that can misbehave as networks do. */
export class Proxy {
  /** Where connections go from now on. */
  targetPort: number
  readonly #pairs = new Set<Pair>()
  #server: Server
  #port = 0
  /** Bytes of these are swallowed from now on, both ways, while both ends believe in their connection. */
  #swallows: (greeting: string) => boolean = () => false

  constructor(targetPort: number) {
    this.targetPort = targetPort
    this.#server = this.#newServer()
  }

  get port(): number {
    return this.#port
  }

  get size(): number {
    return this.#pairs.size
  }

  /** Takes connections, on the port it had before if it had one. */
  async open(): Promise<void> {
    this.#server = this.#newServer().listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  /** Refuses new connections; those that stand, stand. */
  refuse(): void {
    this.#server.close()
  }

  /** Ends every connection with a reset, in the middle of whatever is said. Returns how many. */
  resetAll(): number {
    const pairs = [...this.#pairs]
    for (const { client, server } of pairs) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
    return pairs.length
  }

  /** Connections whose first bytes satisfy `which` go on to stand, and carry nothing any more. */
  blackhole(which: (greeting: string) => boolean = () => true): void {
    this.#swallows = which
  }

  /** New connections work again. */
  heal(): void {
    const swallows = this.#swallows
    for (const pair of this.#pairs) if (swallows(pair.greeting)) pair.greeting = DEAD
    this.#swallows = (greeting) => greeting === DEAD
  }

  close(): void {
    this.#server.close()
    this.resetAll()
  }

  #newServer(): Server {
    return createServer((client) => this.#join(client))
  }

  #join(client: Socket) {
    const server = connect(this.targetPort, '127.0.0.1')
    const pair: Pair = { client, server, greeting: '' }
    this.#pairs.add(pair)
    client.setNoDelay(true)
    server.setNoDelay(true)
    client.on('data', (data) => {
      if (pair.greeting === '') pair.greeting = data.toString('latin1')
      if (!this.#swallows(pair.greeting)) server.write(data)
    })
    server.on('data', (data) => this.#swallows(pair.greeting) || client.write(data))
    const end = () => {
      this.#pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) socket.on('error', end).on('close', end)
  }
}

const DEAD = '\0dead'

/** A proxy in front of a port of this machine, open, closed when `t` ends. */
export async function testProxy(t: Test, targetPort: number): Promise<Proxy> {
  const proxy = new Proxy(targetPort)
  await proxy.open()
  t.teardown(() => proxy.close())
  return proxy
}
