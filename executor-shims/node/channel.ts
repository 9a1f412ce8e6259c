import { fstatSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'

/** Where results go: the descriptor a worker offers. */
export class Channel {
  readonly #fd: number
  readonly #socket: Socket | undefined

  /** `abandoned` is called when the worker is gone: nobody is left who would stop this process. */
  constructor(fd: number, abandoned: () => void) {
    this.#fd = fd
    if (!fstatSync(fd).isSocket()) return
    this.#socket = new Socket({ fd, readable: true, writable: true })
    this.#socket.on('end', abandoned).on('error', abandoned).resume().unref()
  }

  write(line: string): void {
    if (this.#socket) this.#socket.write(`${line}\n`)
    else writeAll(this.#fd, Buffer.from(`${line}\n`))
  }

  /** Resolves when everything has left this process. */
  flushed(): Promise<void> {
    const socket = this.#socket
    return socket === undefined || socket.writableLength === 0 ? Promise.resolve() : new Promise((resolve) => socket.write('', () => resolve()))
  }
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
}
