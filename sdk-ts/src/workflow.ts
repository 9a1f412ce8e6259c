import type { EnqueueRequest, EnqueueWorkflowRequest, WorkflowNode } from '../../protocol/src/rest.js'
import { enqueueRequest, type EnqueueOptions } from './enqueue-request.js'
import { InvalidOption } from './errors.js'
import type { CallArguments, OutputOf, TaskReference } from './task-reference.js'

/** Options of a run in a workflow. */
export interface StepOptions extends Omit<EnqueueOptions, 'idempotencyKey' | 'deduplicate'> {
  /** Its name in the workflow, by which the runs after it find its output. In `workflow` that is its key. */
  name?: string
  /** Names of the runs it waits for. Only in `workflow`: a chain, a group and a chord know. */
  after?: readonly string[]
  /**
   * `success` (the default): it runs when all before it succeeded, and fails as soon as one did not. `always`: when all have ended,
   * however. `failure`: when all have ended and one did not succeed; otherwise it is skipped.
   */
  when?: 'success' | 'always' | 'failure'
}

/** A run to be, as a part of a workflow. */
export interface Step<Output = unknown> {
  readonly request: Promise<EnqueueRequest>
  readonly options: StepOptions
  /** Only a type lives here. */
  readonly '~output'?: Output
}

/** Output of a step: `StepOutput<typeof fetched>`. */
export type StepOutput<S> = S extends Step<infer Output> ? Output : never

/** Options of a workflow as a whole. */
export interface WorkflowOptions {
  /** For people: it is listed under this name. */
  name?: string
  /** Of all workflows with the same key, one is made; the others answer with it. Makes a retry safe. */
  idempotencyKey?: string
  /** Runs when everything else has ended and something did not succeed. Finds what came of the others in `context.parents`. */
  onFailure?: Step
}

/** Name of the run that `onFailure` adds. */
export const ON_FAILURE = 'on_failure'

/**
 * A part of a workflow: a task (or the name of one), its input, its options. What is wrong with them shows when the workflow is
 * enqueued.
 */
export function step<T extends TaskReference>(task: T | string, ...[input, options = {}]: CallArguments<T, StepOptions>): Step<OutputOf<T>> {
  const { name: _, after: __, when: ___, ...rest } = options
  const request = enqueueRequest(task, input, rest)
  // Until somebody awaits it, a failure is nobody's.
  request.catch(() => {})
  return { request, options }
}

/** A workflow about to be enqueued. */
export interface Draft {
  request: EnqueueWorkflowRequest
  /** The runs whose outputs are the workflow's. */
  ends: string[]
}

/** One after the other. Its output is that of the last. */
export async function chainOf(steps: readonly Step[], options: WorkflowOptions): Promise<Draft> {
  const names = namesOf(steps)
  const nodes = await nodesOf(steps, names, (at) => (at === 0 ? [] : [names[at - 1] as string]))
  return draft(nodes, names.slice(-1), options)
}

/** All at once. */
export async function groupOf(steps: readonly Step[], options: WorkflowOptions): Promise<Draft> {
  const names = namesOf(steps)
  return draft(await nodesOf(steps, names, () => []), names, options)
}

/** All at once, then the callback. */
export async function chordOf(steps: readonly Step[], callback: Step, options: WorkflowOptions): Promise<Draft> {
  const names = namesOf(steps)
  const last = callback.options.name ?? 'callback'
  const nodes = await nodesOf([...steps, callback], [...names, last], (at) => (at < steps.length ? [] : names))
  return draft(nodes, [last], options)
}

/** Any graph: each step says in `after` what it waits for. */
export async function graphOf(steps: Record<string, Step>, options: WorkflowOptions): Promise<Draft> {
  const names = Object.keys(steps)
  const nodes = await nodesOf(Object.values(steps), names, (at) => (steps[names[at] as string] as Step).options.after ?? [])
  return draft(inOrder(nodes), names, options)
}

const namesOf = (steps: readonly Step[]) => steps.map(({ options }, at) => options.name ?? String(at + 1))

function nodesOf(steps: readonly Step[], names: readonly string[], after: (at: number) => readonly string[]): Promise<WorkflowNode[]> {
  return Promise.all(
    steps.map(async ({ request, options }, at) => {
      // Each is a run of its own here, whatever its task says of equal ones.
      const { idempotency_key: _, deduplicate: __, ...fields } = await request
      const parents = after(at)
      return { name: names[at] as string, ...fields, ...(parents.length > 0 && { after: [...parents] }), ...(options.when && { when: options.when }) }
    }),
  )
}

async function draft(nodes: WorkflowNode[], ends: string[], { name, idempotencyKey, onFailure }: WorkflowOptions): Promise<Draft> {
  if (nodes.length === 0) throw new InvalidOption('A workflow needs at least one step')
  const last = onFailure ? await nodesOf([{ ...onFailure, options: { ...onFailure.options, when: 'failure' } }], [ON_FAILURE], () => nodes.map((node) => node.name)) : []
  const all = [...nodes, ...last]
  const twice = all.find((node, at) => all.findIndex((other) => other.name === node.name) !== at)
  if (twice) throw new InvalidOption(`Two steps are named "${twice.name}"`, 'give each a name of its own')
  return { request: { ...(name !== undefined && { name }), ...(idempotencyKey !== undefined && { idempotency_key: idempotencyKey }), nodes: all }, ends }
}

/** Parents before children, as SQL takes them. */
function inOrder(nodes: WorkflowNode[]): WorkflowNode[] {
  const names = new Set(nodes.map(({ name }) => name))
  for (const { name, after = [] } of nodes) {
    const unknown = after.find((parent) => !names.has(parent))
    if (unknown !== undefined) throw new InvalidOption(`Step "${name}" comes after "${unknown}", and no step is named that`)
  }
  const placed = new Set<string>()
  const ordered: WorkflowNode[] = []
  for (let left = nodes; left.length > 0; ) {
    const next = left.filter(({ after = [] }) => after.every((parent) => placed.has(parent)))
    if (next.length === 0) throw new InvalidOption(`These steps wait for each other, so none could ever run: ${left.map(({ name }) => `"${name}"`).slice(0, 10).join(', ')}`)
    for (const node of next) placed.add(node.name)
    ordered.push(...next)
    left = left.filter(({ name }) => !placed.has(name))
  }
  return ordered
}
