import { fstatSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { ExtendRefused, type ExtendRefusal } from '../../sdk-ts/src/errors.js'
import { Lines } from '../worker/src/lines.js'

interface Answer {
  t: string
  n: number
  timeout_ms?: number
  code?: ExtendRefusal
}

const ANSWER_BYTES = 65_536

/** Where results go: the descriptor a worker offers. */
export class Channel {
  /** Whether the worker answers on it. */
  readonly #isAnswered: boolean
  readonly #fd: number
  readonly #socket: Socket | undefined
  readonly #questions = new Map<number, (answer: Answer) => void>()
  #asked = 0

  /** `abandoned` is called when the worker is gone: nobody is left who would stop this process. */
  constructor(fd: number, abandoned: () => void) {
    this.#fd = fd
    this.#isAnswered = process.env.REPROQ_EXTEND === '1' && fstatSync(fd).isSocket()
    if (!fstatSync(fd).isSocket()) return
    const answers = new Lines(ANSWER_BYTES, (line) => this.#answered(line), () => {})
    this.#socket = new Socket({ fd, readable: true, writable: true })
    this.#socket.on('end', abandoned).on('error', abandoned).on('data', (chunk: Buffer) => answers.push(chunk)).unref()
  }

  write(line: string): void {
    if (this.#socket) this.#socket.write(`${line}\n`)
    else writeAll(this.#fd, Buffer.from(`${line}\n`))
  }

  /** Asks the worker for another run-time limit of a run; resolves to what was granted. Rejects with ExtendRefused. */
  extend(task: { task: string; run: string }, timeoutMs: number, id?: string): Promise<number> {
    if (!this.#isAnswered) return Promise.reject(new ExtendRefused(task, 'unsupported'))
    const n = ++this.#asked
    return new Promise((resolve, reject) => {
      // A run that only waits for this is to go on.
      this.#socket?.ref()
      this.#questions.set(n, ({ timeout_ms, code }) => (timeout_ms === undefined ? reject(new ExtendRefused(task, code ?? 'unsupported')) : resolve(timeout_ms)))
      this.write(JSON.stringify({ t: 'extend', id, n, timeout_ms: timeoutMs }))
    })
  }

  #answered(line: Buffer): void {
    const answer = JSON.parse(line.toString('utf8')) as Answer
    if (answer.t !== 'extended') return
    this.#questions.get(answer.n)?.(answer)
    this.#questions.delete(answer.n)
    if (this.#questions.size === 0) this.#socket?.unref()
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
