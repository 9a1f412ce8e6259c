import type { CancelWorkflowResult, EnqueuedWorkflow, Workflow } from '../../protocol/src/rest.js'
import { InvalidOption, TaskCancelled } from './errors.js'
import type { RunHandle, WaitOptions } from './run-handle.js'
import type { Workflows } from './workflows.js'

/** So many runs are waited for at a time. */
const AT_ONCE = 50

/** A workflow that was enqueued: wait for it, look at it, cancel it. */
export class WorkflowHandle<Output = unknown> {
  readonly id: string
  /** `true`: a workflow with this idempotency key existed already, and this is it. */
  readonly deduplicated: boolean
  /** Its runs by name. */
  readonly runs: Readonly<Record<string, RunHandle>>
  readonly #workflows: Workflows
  readonly #outputOf: (outputs: unknown[]) => unknown
  readonly #ends: readonly string[]

  /** The output is made from those of the runs named in `ends`. */
  constructor(workflows: Workflows, { id, deduplicated }: EnqueuedWorkflow, runs: Record<string, RunHandle>, ends: readonly string[], outputOf: (outputs: unknown[]) => unknown) {
    this.id = id
    this.deduplicated = deduplicated
    this.runs = runs
    this.#workflows = workflows
    this.#ends = ends
    this.#outputOf = outputOf
  }

  /**
   * What it returned, once it has: the last of a chain, the callback of a chord, each of a group in its order, each of a graph by
   * name (a step that was skipped is left out). Throws what `RunHandle.result` throws, for the first of those runs that did not succeed.
   */
  async result(options: WaitOptions = {}): Promise<Output> {
    const outputs: unknown[] = []
    for (let from = 0; from < this.#ends.length; from += AT_ONCE) {
      outputs.push(...(await Promise.all(this.#ends.slice(from, from + AT_ONCE).map((name) => this.#outputOfRun(name, options)))))
    }
    return this.#outputOf(outputs) as Output
  }

  /** One of its runs. Throws InvalidOption when it has none of that name. */
  run(name: string): RunHandle {
    const run = this.runs[name]
    if (!run) throw new InvalidOption(`The workflow has no run named "${name}"`, `it has: ${Object.keys(this.runs).slice(0, 20).join(', ')}`)
    return run
  }

  /** The workflow as it is now. Throws WorkflowNotFound, BrokerUnreachable and other HttpProblems. */
  get(): Promise<Workflow> {
    return this.#workflows.get(this.id)
  }

  /** Cancels every run of it that has not ended. Throws what `get` throws. */
  cancel(): Promise<CancelWorkflowResult> {
    return this.#workflows.cancel(this.id)
  }

  async #outputOfRun(name: string, options: WaitOptions): Promise<unknown> {
    const settled = await this.run(name).settled(options)
    if (settled.ok) return settled.output
    const isSkipped = settled.error instanceof TaskCancelled && settled.run.errors.at(-1)?.kind === 'workflow_skipped'
    if (isSkipped) return undefined
    throw settled.error
  }
}
