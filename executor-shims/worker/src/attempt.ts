import { Head, LogFeed, Tail } from './bounded-output.js'
import { EnvelopeGuard } from './envelope-guard.js'
import { ENVELOPE_ROOM_BYTES, readEnvelope, settle, type Evidence } from './envelope.js'
import { extendedLine, type ExtendMessage } from './extend-message.js'
import type { Assignment, Settlement, Stop, Voice } from './executor.js'
import { drained, type Launched, type Launcher } from './launch.js'
import type { ResolvedOptions } from './one-shot.js'
import { layOut, type Payload } from './payload.js'
import type { Exit } from './process-group.js'
import { ResultChannel } from './result-channel.js'
import { notStarted } from './start-advice.js'
import { settleStopped } from './stopped.js'

const STDERR_TAIL_BYTES = 8_192

/** One execution of one run in a process of its own. */
export class Attempt {
  readonly #assignment: Assignment
  readonly #options: ResolvedOptions
  readonly #launch: Launcher
  readonly #voice: Voice | undefined
  readonly #channel: ResultChannel
  readonly #stdout: Head
  readonly #guard: EnvelopeGuard
  readonly #stderr = new Tail(STDERR_TAIL_BYTES)
  #process: Launched | undefined
  #stop: Stop | undefined
  #over = false

  constructor(assignment: Assignment, options: ResolvedOptions, launch: Launcher, voice?: Voice) {
    this.#assignment = assignment
    this.#options = options
    this.#launch = launch
    this.#voice = voice
    const room = options.maxOutputBytes + ENVELOPE_ROOM_BYTES
    this.#channel = new ResultChannel(room, (progress) => {
      options.onProgress?.(assignment, progress)
      voice?.progress(progress)
    }, (message) => void this.#extend(message))
    this.#stdout = new Head(room)
    const feed = this.#logFeed('stdout')
    this.#guard = new EnvelopeGuard(Math.max(room, options.maxLogBytes), (chunk) => feed?.push(chunk))
  }

  async run(): Promise<Settlement> {
    let payload: Payload | undefined
    try {
      payload = await layOut(this.#options.payloadMode, this.#assignment)
      return this.#stop ? settleStopped(this.#stop, this.#assignment) : await this.#execute(payload)
    } catch (error) {
      return this.#notStarted(error)
    } finally {
      await payload?.remove()
    }
  }

  /** Tells the code to stop: SIGTERM, then SIGKILL after the grace; a hard stop kills at once, also during the grace. */
  halt(stop: Stop): void {
    if (this.#over) return
    this.#stop ??= stop
    if (stop.hard) this.#process?.kill()
    else this.#process?.terminate(this.#assignment.cancel_grace_ms)
  }

  async #execute(payload: Payload): Promise<Settlement> {
    const process = this.#start(payload)
    const ending = await process.ended
    this.#over = true
    if ('failure' in ending) return this.#stop ? settleStopped(this.#stop, this.#assignment) : this.#notStarted(ending.failure)
    await drained(process, this.#options.stdioGraceMs)
    await this.#clear(process)
    const settlement = this.#judge(ending.exit)
    return this.#stop ? settleStopped(this.#stop, this.#assignment, settlement) : settlement
  }

  /** What was no envelope on stdout is log. */
  #judge(exit: Exit): Settlement {
    const evidence: Evidence = {
      channel: this.#channel.captured,
      stdout: this.#stdout,
      lastLine: this.#guard.lastLine,
      stderr: this.#stderr.text,
      exit,
      maxOutputBytes: this.#options.maxOutputBytes,
    }
    const reading = readEnvelope(evidence)
    if (evidence.lastLine === undefined || 'missing' in reading) this.#guard.release()
    return settle(evidence, reading)
  }

  #start(payload: Payload): Launched {
    const { run, attempt } = this.#assignment
    const stderr = this.#logFeed('stderr')
    this.#process = this.#launch({
      args: ['--result-id', run, '--attempt', String(attempt), ...payload.args],
      stdin: payload.stdin,
      env: payload.env,
      outlets: {
        channel: (chunk) => {
          this.#guard.release()
          this.#channel.push(chunk)
        },
        stdout: (chunk) => [this.#stdout, this.#guard].forEach((sink) => sink.push(chunk)),
        stderr: (chunk) => [this.#stderr, stderr].forEach((sink) => sink?.push(chunk)),
      },
    })
    return this.#process
  }

  #logFeed(stream: 'stdout' | 'stderr'): LogFeed | undefined {
    const { onLog, maxLogBytes } = this.#options
    if (!onLog && !this.#voice) return undefined
    return new LogFeed(maxLogBytes, (text) => {
      onLog?.(this.#assignment, stream, text)
      this.#voice?.print(stream, text)
    })
  }

  async #extend(message: ExtendMessage): Promise<void> {
    const line = await extendedLine(message, this.#assignment, this.#voice)
    if (!this.#over) this.#process?.answer(line)
  }

  async #clear(process: Launched): Promise<void> {
    const survivors = await process.clear()
    if (survivors.length > 0) this.#options.onOrphans?.(this.#assignment, survivors)
  }

  #notStarted(error: unknown): Settlement {
    this.#over = true
    return notStarted(this.#options, error)
  }
}
