import type { Running } from './subject.js'
import { within } from './within.js'

export interface Message {
  t?: string
  id?: unknown
  n?: unknown
  protocol?: unknown
  lang?: unknown
  caps?: unknown
  pct?: unknown
  checkpoint?: unknown
  timeout_ms?: unknown
}

export interface Done extends Message {
  ok?: unknown
  return?: unknown
  message?: unknown
  exception_class?: unknown
}

const START_MS = 30_000

/** A worker's side of the loop contract. */
export class LoopSession {
  readonly process: Running
  readonly #taken: Done[] = []
  #given = 0

  constructor(process: Running) {
    this.process = process
  }

  /** What has been said so far. Throws for a line that is no message. */
  get messages(): readonly Done[] {
    const { lines } = this.process.output
    while (this.#taken.length < lines.length) this.#taken.push(parsed(lines[this.#taken.length] as Buffer))
    return this.#taken
  }

  ready(): Promise<Message> {
    return this.message('ready', () => true, START_MS)
  }

  send(message: object): void {
    this.process.write(`${JSON.stringify(message)}\n`)
  }

  begin(spec: string, more: { id?: string; checkpoint?: string; novelty?: unknown } = {}): string {
    const id = more.id ?? String(++this.#given)
    const { task_path = '' } = taskOf(spec)
    this.send({ t: 'run', id, run: '9007199254740993', task: task_path, queue: 'default', attempt: 2, max_attempts: 3, timeout_ms: 60_000, spec, ...more })
    return id
  }

  run(spec: string, more?: { id?: string; checkpoint?: string; novelty?: unknown }): Promise<Done> {
    return this.answer(this.begin(spec, more))
  }

  answer(id: string): Promise<Done> {
    return this.message('done', (message) => message.id === id)
  }

  async message(t: string, fits: (message: Message) => boolean = () => true, ms?: number): Promise<Done> {
    const found = () => this.messages.find((message) => message.t === t && fits(message))
    const gone = this.process.ended.then(({ code, signal }) => Promise.reject(new Error(`It ended (${signal ?? code}) instead of saying ${t}; stderr: ${this.process.output.text('stderr').slice(-300)}`)))
    // What came in the last moment is read before the process counts as gone.
    const late = gone.catch(async (error: unknown) => {
      await within(this.process.closed, 'Its output did not end')
      if (!found()) throw error
    })
    await within(Promise.race([this.process.output.when(() => found() !== undefined), late]), `It did not say ${t}`, ms)
    return found() as Done
  }

  /** Its exit status. */
  async over(): Promise<number | null> {
    const { code } = await within(this.process.ended, 'It did not end')
    await within(this.process.closed, 'Its output did not end')
    return code
  }
}

function parsed(line: Buffer): Done {
  const message: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line))
  if (typeof message !== 'object' || message === null) throw new Error(`It said ${line.toString('utf8').slice(0, 200)}, which is no message`)
  return message
}

function taskOf(spec: string): { task_path?: string } {
  try {
    return JSON.parse(spec) as { task_path?: string }
  } catch {
    return {}
  }
}
