import { LogFeed, Tail } from './bounded-output.js'
import type { Assignment, Settlement, Stop, Voice } from './executor.js'
import { extendedLine, type ExtendMessage } from './extend-message.js'
import type { Progress } from './progress.js'
import type { LoopOptions } from './loop-process.js'

const STDERR_TAIL_BYTES = 8_192

/** One run in flight in a loop executor. */
export class LoopRun {
  readonly id: string
  readonly assignment: Assignment
  readonly stderr = new Tail(STDERR_TAIL_BYTES)
  /** What came of it, also when it was told to stop. */
  readonly settled: Promise<Settlement>
  stop: Stop | undefined
  readonly #voice: Voice | undefined
  readonly #onProgress: LoopOptions['onProgress']
  #settle: (settlement: Settlement) => void = () => {}
  readonly #feeds: { stdout: LogFeed; stderr: LogFeed } | undefined

  constructor(id: string, assignment: Assignment, { onLog, onProgress, maxLogBytes }: LoopOptions, voice?: Voice) {
    this.id = id
    this.assignment = assignment
    this.#voice = voice
    this.#onProgress = onProgress
    this.settled = new Promise((resolve) => {
      this.#settle = resolve
    })
    const feed = (stream: 'stdout' | 'stderr') =>
      new LogFeed(maxLogBytes, (text) => {
        onLog?.(assignment, stream, text)
        voice?.print(stream, text)
      })
    if (onLog || voice) this.#feeds = { stdout: feed('stdout'), stderr: feed('stderr') }
  }

  /** The first settlement counts. */
  settle(settlement: Settlement): void {
    this.#settle(settlement)
  }

  report(progress: Progress): void {
    this.#onProgress?.(this.assignment, progress)
    this.#voice?.progress(progress)
  }

  extend(message: ExtendMessage): Promise<string> {
    return extendedLine(message, this.assignment, this.#voice)
  }

  print(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    if (stream === 'stderr') this.stderr.push(chunk)
    this.#feeds?.[stream].push(chunk)
  }
}
