import { fstatSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'

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
  async flushed(): Promise<void> {
    if (this.#socket) await flushed(this.#socket)
  }
}

/** Resolves when what was printed has left this process, so that it is there before the answer is. */
export async function printed(): Promise<void> {
  await flushed(process.stdout)
  await flushed(process.stderr)
}

/** A reader that is gone keeps nobody waiting. */
function flushed(stream: Writable): Promise<void> | undefined {
  if (stream.writableLength === 0 || stream.destroyed) return undefined
  return new Promise((resolve) => {
    stream.once('close', resolve)
    stream.write('', () => resolve())
  })
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
}
