import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { MAIN } from '../helpers/broker.js'
import { until } from '../helpers/wait.js'
import { ROOT } from './python.js'
import type { DjangoEnvironment } from './reproq-django.js'

export const PROJECT = join(ROOT, 'test/django/project')

const variablesFor = ({ variables }: DjangoEnvironment, databaseUrl: string) => ({ ...process.env, ...variables, DJANGO_SETTINGS_MODULE: 'shop.settings', SHOP_DATABASE_URL: databaseUrl })

/** A Django process of the project, beside the broker: where a team's web process is. */
export class Django {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>
  #last: Promise<unknown> = Promise.resolve()

  constructor(t: Test, environment: DjangoEnvironment, databaseUrl: string) {
    this.#child = spawn(environment.interpreter, ['drive.py'], { cwd: PROJECT, env: variablesFor(environment, databaseUrl), stdio: ['pipe', 'pipe', process.env.REPROQ_TEST_LOG ? 'inherit' : 'ignore'] })
    this.#answers = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
    const ended = once(this.#child, 'exit')
    t.teardown(async () => {
      this.#child.stdin?.end()
      await ended
    })
  }

  /** Runs the body of a function in it (drive.py has the names it may use) and gives back what that returns, as JSON has it. */
  run<T>(code: string, given: unknown = null): Promise<T> {
    const turn = this.#last.then(() => this.#ask<T>(code, given))
    this.#last = turn.catch(() => {})
    return turn
  }

  async #ask<T>(code: string, given: unknown): Promise<T> {
    this.#child.stdin?.write(`${JSON.stringify({ code, given })}\n`)
    const { value, done } = await this.#answers.next()
    if (done) throw new Error('Django has ended')
    const answer = JSON.parse(value) as { value: T; error?: string }
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.value
  }
}

export interface DjangoWorker {
  environment: DjangoEnvironment
  databaseUrl: string
  url: string
  token: string
  queues: string
  concurrency: number
  /** Flags that say how Python is run. */
  mode?: readonly string[]
}

/** `reproq worker` as a Django team starts it, in the project's folder. Resolves when the broker has welcomed it. */
export async function djangoWorker(t: Test, { environment, databaseUrl, url, token, queues, concurrency, mode = [] }: DjangoWorker): Promise<void> {
  const child = spawn(
    process.execPath,
    [MAIN, 'worker', '--url', url, '--queues', queues, '--concurrency', String(concurrency), '--window', String(concurrency), '--json',
     '--python', environment.interpreter, '--python-module', 'reproq_django.executor', '--allow-tasks', 'shop.tasks.', '--env', 'SHOP_DATABASE_URL', ...mode],
    { cwd: PROJECT, env: { ...variablesFor(environment, databaseUrl), REPROQ_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const exited = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += String(text)))
  await until('the worker is welcomed', () => {
    if (child.exitCode !== null) throw new Error(`The worker ended:\n${said}`)
    return said.includes('"event":"connected"')
  }, 20_000)
}
