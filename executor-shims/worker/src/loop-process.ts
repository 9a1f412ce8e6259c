import { Head, Tail } from './bounded-output.js'
import { ENVELOPE_ROOM_BYTES, settle, settleEnvelope, tooLarge } from './envelope.js'
import type { Assignment, Settlement, Stop, Voice } from './executor.js'
import { drained, listen } from './launch.js'
import { Lines } from './lines.js'
import { cancelMessage, replyOf, runMessage, SHUTDOWN_MESSAGE, type Fault, type Reply } from './loop-messages.js'
import { LoopRun } from './loop-run.js'
import { ProcessGroup, type Ending, type Exit } from './process-group.js'
import { progressOf, type Progress } from './progress.js'
import { StartFailure } from './start-failure.js'
import { settleStopped, stopOf } from './stopped.js'
import { isWorn, type Wear } from './wear.js'
import type { StopSignal } from './stop-signal.js'

export interface LoopOptions extends Wear {
  name: string
  command: readonly string[]
  cwd?: string | undefined
  env: NodeJS.ProcessEnv
  startTimeoutMs: number
  /** How long a process that is no longer needed may take to end. */
  endMs: number
  /** Runs at a time in a process that says it is `concurrent`. */
  runsPerProcess: number
  maxOutputBytes: number
  maxLogBytes: number
  stdioGraceMs: number
  onLog?: ((assignment: Assignment, stream: 'stdout' | 'stderr', text: string) => void) | undefined
  onProgress?: ((assignment: Assignment, progress: Progress) => void) | undefined
  onOrphans?: ((assignment: Assignment, pids: readonly number[]) => void) | undefined
}


const STDERR_TAIL_BYTES = 8_192
const PROTOCOL = 1

/** A process that runs one attempt after the other: the loop mode of executor-shims/CONTRACT.md. */
export class LoopProcess {
  /** Resolves when it can take runs; rejects with StartFailure. */
  readonly ready: Promise<void>
  /** Resolves when the process, what it started and every pipe are gone. */
  readonly gone: Promise<void>
  readonly #options: LoopOptions
  readonly #group: ProcessGroup
  readonly #flight = new Map<string, LoopRun>()
  readonly #stderr = new Tail(STDERR_TAIL_BYTES)
  readonly #startedAt = performance.now()
  #isReady: (error?: StartFailure) => void = () => {}
  #startTimer: NodeJS.Timeout | undefined
  #capacity = 0
  /** Runs given so far; their ids are 1 to this. */
  #given = 0
  /** Taken by the pool for a run that is about to come. */
  #reserved = 0
  #worn: string | undefined

  /** Throws what `spawn` throws for arguments no system accepts. */
  constructor(options: LoopOptions) {
    this.#options = options
    this.#group = new ProcessGroup(options.command, { cwd: options.cwd, env: options.env, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] })
    this.ready = new Promise((resolve, reject) => {
      this.#isReady = (error) => (error ? reject(error) : resolve())
    })
    this.#startTimer = setTimeout(() => this.#failToStart(new StartFailure(`it was not ready within ${options.startTimeoutMs} ms`, this.#stderr.text)), options.startTimeoutMs)
    this.#group.child.stdin?.on('error', () => {})
    const lines = new Lines(options.maxOutputBytes + ENVELOPE_ROOM_BYTES, (line) => this.#take(replyOf(line)), () => this.#spoil(tooLarge(options.maxOutputBytes)))
    listen(this.#group, { channel: (chunk) => lines.push(chunk), stdout: (chunk) => this.#print('stdout', chunk), stderr: (chunk) => this.#print('stderr', chunk) })
    this.gone = this.#group.ended.then((ending) => this.#over(ending))
  }

  get room(): number {
    return this.#worn === undefined ? this.#capacity - this.#flight.size - this.#reserved : 0
  }

  /** Why it takes no further run, if it does not. */
  get worn(): string | undefined {
    this.#worn ??= isWorn(this.#options, { runs: this.#given, ageMs: performance.now() - this.#startedAt, pid: this.#group.id })
    return this.#worn
  }

  get isIdle(): boolean {
    return this.#flight.size + this.#reserved === 0
  }

  reserve(): this {
    this.#reserved++
    return this
  }

  /** Takes no further run; ends once the present ones are over. */
  wear(reason: string): void {
    this.#worn ??= reason
  }

  /** Runs one attempt to its end, in the place that `reserve` took. Never rejects. */
  async run(assignment: Assignment, signal: StopSignal, voice?: Voice): Promise<Settlement> {
    const run = new LoopRun(String(++this.#given), assignment, this.#options, voice)
    this.#reserved--
    this.#flight.set(run.id, run)
    const halt = () => this.#halt(run, stopOf(signal))
    signal.addEventListener('abort', halt)
    try {
      this.#send(runMessage(run.id, assignment))
      if (signal.aborted) halt()
      const settlement = await run.settled
      return run.stop ? settleStopped(run.stop, assignment, await this.#afterStop(settlement)) : settlement
    } finally {
      signal.removeEventListener('abort', halt)
      this.#flight.delete(run.id)
    }
  }

  /** Asks it to end, and kills it when it does not. */
  end(): Promise<void> {
    this.#worn ??= 'it is no longer needed'
    this.#send(SHUTDOWN_MESSAGE)
    this.#group.child.stdin?.end()
    const impatient = setTimeout(() => this.kill(), this.#options.endMs)
    return this.gone.finally(() => clearTimeout(impatient))
  }

  kill(): void {
    this.#worn ??= 'it was killed'
    this.#group.kill()
  }

  /** Kills it, and whatever runs in it is over for that reason. */
  abandon(stop: Stop): void {
    for (const run of this.#flight.values()) run.stop ??= stop
    this.kill()
  }

  get #isConcurrent(): boolean {
    return this.#capacity > 1
  }

  /** SIGTERM would hit every run of a process that has several. */
  #halt(run: LoopRun, stop: Stop): void {
    const graceMs = run.assignment.cancel_grace_ms
    run.stop ??= stop
    if (stop.hard) return this.kill()
    this.#send(cancelMessage(run.id, graceMs, stop.reason))
    if (!this.#isConcurrent) return this.#group.terminate(graceMs)
    const grace = setTimeout(() => this.kill(), graceMs)
    void run.settled.then(() => clearTimeout(grace))
  }

  /** What a stopped run leaves behind cannot be told from what is meant to stay, so its process ends with it. */
  async #afterStop(settlement: Settlement): Promise<Settlement> {
    if (!this.#isConcurrent) await this.end()
    return settlement
  }

  #send(text: string): void {
    const { stdin } = this.#group.child
    if (stdin?.writable) stdin.write(text)
  }

  #take(reply: Reply | Fault): void {
    if ('fault' in reply) this.#spoil(reply.fault)
    else if (reply.t === 'ready') this.#greet(reply)
    else if (reply.t === 'recycle') this.wear(reply.reason || 'it asked for it')
    else if (reply.t === 'progress') this.#report(reply)
    else if (reply.t === 'extend') void this.#extend(reply)
    else if (reply.t === 'done') this.#done(reply)
  }

  #greet({ protocol, caps }: Extract<Reply, { t: 'ready' }>): void {
    if (this.#capacity > 0) return
    if (protocol !== PROTOCOL) return this.#failToStart(new StartFailure(`it speaks version ${JSON.stringify(protocol)} of the loop contract, this worker version ${PROTOCOL}`, ''))
    clearTimeout(this.#startTimer)
    this.#capacity = caps.includes('concurrent') ? this.#options.runsPerProcess : 1
    this.#isReady()
  }

  #report({ id, text }: Extract<Reply, { t: 'progress' }>): void {
    this.#flight.get(id)?.report(progressOf(text))
  }

  async #extend({ id, message }: Extract<Reply, { t: 'extend' }>): Promise<void> {
    const line = await this.#flight.get(id)?.extend(message)
    if (line !== undefined && this.#flight.has(id)) this.#group.answer(line)
  }

  /** What was printed before is in other pipes; all of them are read before the next turn of the event loop. */
  #done({ id, text, envelope }: Extract<Reply, { t: 'done' }>): void {
    const run = this.#flight.get(id)
    if (run) setImmediate(() => this.#settle(run, settleEnvelope(text, envelope, this.#options.maxOutputBytes)))
    // An answer to a run that was never given is nobody's; a second one to the same run is a fault.
    else if (Number(id) >= 1 && Number(id) <= this.#given) this.wear('it answered one run twice')
  }

  #settle(run: LoopRun, settlement: Settlement): void {
    // Twice in one breath: the run is still here when its second answer comes.
    if (!this.#flight.delete(run.id)) return this.wear('it answered one run twice')
    run.settle(settlement)
  }

  /** A line nobody can use. With one run in flight it is that run's; what else it may say is not to be trusted. */
  #spoil(settlement: Settlement): void {
    if (this.#capacity === 0) return this.#failToStart(new StartFailure(settlement.error?.message ?? '', ''))
    const [run, ...others] = this.#flight.values()
    if (run && others.length === 0) this.#settle(run, settlement)
    this.wear('it broke the contract')
    this.kill()
  }

  #failToStart(failure: StartFailure): void {
    clearTimeout(this.#startTimer)
    this.#isReady(failure)
    this.kill()
  }

  #print(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    if (stream === 'stderr') this.#stderr.push(chunk)
    // Nobody can tell the output of concurrent runs apart; the oldest gets it.
    const [run] = this.#flight.values()
    run?.print(stream, chunk)
  }

  async #over(ending: Ending): Promise<void> {
    this.#worn ??= 'it ended'
    await drained(this.#group, this.#options.stdioGraceMs)
    const survivors = await this.#group.clear()
    // Behind the answers that came in the last moment.
    await new Promise((resolve) => setImmediate(resolve))
    const exit = 'exit' in ending ? ending.exit : {}
    this.#failToStart('failure' in ending ? new StartFailure(ending.failure, '') : StartFailure.ofExit(exit, this.#stderr.text))
    for (const run of this.#flight.values()) {
      if (survivors.length > 0) this.#options.onOrphans?.(run.assignment, survivors)
      this.#settle(run, crashed(run, exit, this.#options.maxOutputBytes))
    }
  }
}

function crashed(run: LoopRun, exit: Exit, maxOutputBytes: number): Settlement {
  return settle({ channel: undefined, stdout: new Head(0), lastLine: undefined, stderr: run.stderr.text, exit, maxOutputBytes })
}
