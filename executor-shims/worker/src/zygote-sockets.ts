import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RESULT_FD, type Outlets } from './launch.js'

const NEWLINE = 0x0a
/** `<run> <descriptor>` and a little more. */
const HEADER_BYTES = 64
/** Unix socket paths end here on every system. */
const PATH_BYTES = 100
const DESCRIPTORS = 3

interface Expected {
  outlets: Outlets
  sockets: Set<Socket>
  result?: Socket
  opened: number
  closed: () => void
}

/** Where the processes a zygote forks connect with their stdout, stderr and result: a socket in a folder of our own. */
export class ZygoteSockets {
  readonly path: string
  readonly #folder: string
  readonly #server: Server
  readonly #expected = new Map<string, Expected>()

  constructor() {
    const temporary = tmpdir()
    this.#folder = mkdtempSync(join(temporary.length < PATH_BYTES - 30 ? temporary : '/tmp', 'reproq-zygote-'))
    this.path = join(this.#folder, 'runs')
    this.#server = createServer((socket) => this.#accept(socket))
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => this.#server.once('error', reject).listen(this.path, resolve))
  }

  /** The connections of one run go to these outlets. `closed` resolves when all of them have come and ended. */
  expect(run: string, outlets: Outlets): { closed: Promise<void>; release: () => void; answer: (line: string) => void } {
    const expected: Expected = { outlets, sockets: new Set(), opened: 0, closed: () => {} }
    const closed = new Promise<void>((resolve) => {
      expected.closed = resolve
    })
    this.#expected.set(run, expected)
    const release = () => {
      this.#expected.delete(run)
      for (const socket of expected.sockets) socket.destroy()
    }
    const answer = (line: string) => {
      if (expected.result?.writable) expected.result.write(line)
    }
    return { closed, release, answer }
  }

  /** Takes no more connections. Those that are there end with their runs. */
  close(): void {
    this.#server.close()
    this.removeFolder()
  }

  /** Also for the last moment of this process. */
  removeFolder(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #accept(socket: Socket): void {
    let header = Buffer.alloc(0)
    socket.on('error', () => {})
    const read = (chunk: Buffer) => {
      header = Buffer.concat([header, chunk])
      const end = header.indexOf(NEWLINE)
      if (end === -1 && header.length < HEADER_BYTES) return
      socket.off('data', read)
      this.#connect(socket, header.subarray(0, Math.max(end, 0)).toString('latin1'), header.subarray(end + 1))
    }
    socket.on('data', read)
  }

  #connect(socket: Socket, header: string, rest: Buffer): void {
    const [run = '', descriptor] = header.split(' ')
    const expected = this.#expected.get(run)
    const take = expected && outletOf(expected.outlets, Number(descriptor))
    if (!expected || !take) return void socket.destroy()
    expected.opened++
    expected.sockets.add(socket)
    if (Number(descriptor) === RESULT_FD) expected.result = socket
    if (rest.length > 0) take(rest)
    socket.on('data', take)
    socket.once('close', () => {
      expected.sockets.delete(socket)
      if (expected.opened === DESCRIPTORS && expected.sockets.size === 0) expected.closed()
    })
  }
}

function outletOf(outlets: Outlets, descriptor: number): ((chunk: Buffer) => void) | undefined {
  if (descriptor === 1) return outlets.stdout
  if (descriptor === 2) return outlets.stderr
  return descriptor === RESULT_FD ? outlets.channel : undefined
}
