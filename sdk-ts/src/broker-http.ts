import type { Problem } from '../../protocol/src/rest.js'
import { BrokerUnavailable, BrokerUnreachable, HttpProblem, problemError } from './errors.js'
import { serverEvents, type ServerEvent } from './event-stream.js'
import { attemptSignal, pause, pauseMs } from './patience.js'
import type { Transport, WireAnswer } from './transport.js'

/** A server that is silent for longer than this on an event stream is taken for gone. */
const SILENCE_MS = 60_000

/** Told once each time the broker stops answering and is asked again. What it throws ends the call. */
export type OnAway = (error: Error) => void

/** One request to the broker, and how long it may take altogether. */
export interface Question {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Path and query below the base URL: `/v1/runs`. */
  path: string
  body?: string
  /** Asking twice does no harm, so it is asked again while the broker is away. */
  repeatable: boolean
  /** Milliseconds that the broker may hold the answer back on purpose. */
  holdMs?: number
  /** When to give up, on the clock of `performance.now()`. */
  until: number
  onAway?: OnAway | undefined
  signal?: AbortSignal
}

/** The broker's REST interface: JSON and problems in, values and typed errors out, patient while the broker restarts. */
export class BrokerHttp {
  readonly #url: string
  readonly #hint: string
  readonly #basePath: string
  readonly #headers: Record<string, string>
  readonly #transport: Transport

  /** `hint` says what to check when no answer comes. */
  constructor(url: URL, token: string | undefined, hint: string, transport: Transport) {
    this.#url = url.href
    this.#hint = hint
    this.#basePath = url.pathname.replace(/\/$/, '')
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    this.#transport = transport
  }

  /**
   * Throws HttpProblem (or its RunNotFound, AccessDenied, BrokerUnavailable) for a refusal, BrokerUnreachable when no
   * answer came in time, and the signal's reason when it aborts.
   */
  async ask<Answer>(question: Question): Promise<Answer> {
    for (let failures = 0; ; failures++) {
      const { status, text, retryAfter, lost } = await this.#once(question)
      if (lost === undefined && status < 300) return this.#parse<Answer>(text, status)
      question.signal?.throwIfAborted()

      const error = lost === undefined ? this.#problem(text, status) : this.#unreachable(lost)
      const away = lost !== undefined || (status >= 502 && status <= 504)
      const waitMs = pauseMs(failures, retryAfter)
      if (!away || !question.repeatable || performance.now() + waitMs > question.until) throw error
      if (failures === 0) question.onAway?.(error)
      await pause(waitMs, question.signal)
    }
  }

  /** The events of one connection; ends when the broker ends it. Throws what `ask` throws, and never connects again by itself. */
  async *events(path: string, signal?: AbortSignal): AsyncGenerator<ServerEvent> {
    const attempt = attemptSignal(SILENCE_MS, signal)
    try {
      const answer = await this.#open(path, attempt.signal)
      yield* serverEvents(this.#heard(answer, attempt.restart))
    } catch (error) {
      signal?.throwIfAborted()
      throw error instanceof HttpProblem ? error : this.#unreachable(error)
    } finally {
      attempt.release()
    }
  }

  close(): Promise<void> {
    return this.#transport.close()
  }

  async #once({ method, path, body, holdMs = 0, until, signal }: Question): Promise<{ status: number; text: string; retryAfter?: string | undefined; lost?: unknown }> {
    const limitMs = Math.max(until - performance.now(), 0)
    // An answer that is held back needs time on top of the hold for its own way.
    const attempt = attemptSignal(holdMs > 0 ? Math.min(holdMs + 10_000, limitMs) : limitMs, signal)
    const headers = body === undefined ? this.#headers : { ...this.#headers, 'content-type': 'application/json' }
    try {
      const answer = await this.#transport.send({ method, path: this.#basePath + path, headers, ...(body !== undefined && { body }), signal: attempt.signal, held: holdMs > 0 })
      return { status: answer.status, text: await answer.text(), retryAfter: answer.header('retry-after') }
    } catch (lost) {
      return { status: 0, text: '', lost: lost ?? new Error('aborted') }
    } finally {
      attempt.release()
    }
  }

  async #open(path: string, signal: AbortSignal): Promise<WireAnswer> {
    const headers = { ...this.#headers, accept: 'text/event-stream' }
    const answer = await this.#transport.send({ method: 'GET', path: this.#basePath + path, headers, signal, held: true })
    if (answer.status >= 300) throw this.#problem(await answer.text(), answer.status)
    return answer
  }

  async *#heard(answer: WireAnswer, restart: () => void): AsyncGenerator<Uint8Array> {
    for await (const chunk of answer.chunks()) {
      restart()
      yield chunk
    }
  }

  #parse<Answer>(text: string, status: number): Answer {
    try {
      return JSON.parse(text) as Answer
    } catch {
      throw this.#problem(text, status)
    }
  }

  /** Whatever answered may be a proxy, whose errors are no problems of ours. */
  #problem(text: string, status: number): HttpProblem {
    const problem = problemIn(text)
    if (problem) return problemError(problem)
    return problemError({
      type: 'about:blank',
      title: 'Unexpected answer',
      status,
      detail: `${this.#url} answered ${status} with something that is not Reproq's: ${JSON.stringify(text.slice(0, 120))}`,
      code: status === 503 ? 'UNAVAILABLE' : 'UNEXPECTED_ANSWER',
      hint: 'check that REPROQ_URL names the broker, and what stands between',
    })
  }

  #unreachable(cause: unknown): BrokerUnreachable {
    return new BrokerUnreachable(this.#url, this.#hint, cause)
  }
}

/** Whether the broker may be back in a moment: it restarts, or its database does. */
export const isAway = (error: unknown): boolean => error instanceof BrokerUnreachable || error instanceof BrokerUnavailable

function problemIn(text: string): Problem | undefined {
  try {
    const problem = JSON.parse(text) as Partial<Problem> | null
    return typeof problem?.code === 'string' && typeof problem.status === 'number' ? ({ title: '', detail: '', ...problem } as Problem) : undefined
  } catch {
    return undefined
  }
}
