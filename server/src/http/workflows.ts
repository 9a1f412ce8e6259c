import Type from 'typebox'
import { CancelWorkflowResult, elements, EnqueuedWorkflow, EnqueueWorkflowRequest, members, Problem, Workflow, WorkflowList, WorkflowStatus } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { enqueueWorkflow, newWorkflow } from '../workflows/enqueue.js'
import { findWorkflow, listWorkflows, unfinishedRuns } from '../workflows/find.js'
import { needs } from './access.js'
import type { HttpContext } from './context.js'
import { sourceOf } from './json-body.js'
import type { App } from './typed-app.js'

const WorkflowParams = Type.Object({ id: Type.String({ format: 'uuid', description: 'the id of a workflow, a UUID: the workflow_id of its runs' }) })
const failures = { '4xx': Problem, '5xx': Problem }

/** Make, read, list, cancel workflows. */
export function workflowRoutes(app: App, { config, db, reads, events, cancel }: HttpContext): void {
  app.post(
    '/workflows',
    { preValidation: needs('enqueue'), schema: { tags: ['workflows'], summary: 'Enqueue runs that wait for each other: all or none', body: EnqueueWorkflowRequest, response: { 201: EnqueuedWorkflow, ...failures } } },
    async ({ body }, reply) => {
      if (body.nodes.length > config.workflowNodes) {
        throw new BrokerError('INVALID_WORKFLOW', `The workflow has ${body.nodes.length} nodes; the limit is ${config.workflowNodes} (REPROQ_WORKFLOW_NODES)`)
      }
      const sources = elements(members(sourceOf(body)).get('nodes') as string)
      const placed = await enqueueWorkflow(db, newWorkflow(body, sources, config.payloadBytes))
      if (!placed.deduplicated) for (const { name, task, queue = 'default' } of body.nodes) events.emit('run.enqueued', { runId: placed.runs[name] as string, queue, task })
      return reply.code(201).send(placed)
    },
  )

  app.get(
    '/workflows/:id',
    { preValidation: needs('read'), schema: { tags: ['workflows'], summary: 'A workflow and its runs', params: WorkflowParams, response: { 200: Workflow, ...failures } } },
    async ({ params }) => {
      const found = await findWorkflow(reads, params.id)
      if (!found) throw notFound(params.id)
      return found
    },
  )

  app.get(
    '/workflows',
    {
      preValidation: needs('read'),
      schema: {
        tags: ['workflows'],
        summary: 'Workflows, newest first',
        querystring: Type.Object({
          status: Type.Optional(WorkflowStatus),
          limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 50 }),
          cursor: Type.Optional(Type.String({ pattern: '^[0-9]{1,18}$', description: 'next_cursor of the page before' })),
        }),
        response: { 200: WorkflowList, ...failures },
      },
    },
    async ({ query: { status, limit, cursor } }) => {
      const { workflows, last } = await listWorkflows(reads, { status, limit, before: cursor })
      return { workflows, next_cursor: workflows.length === limit ? last : null }
    },
  )

  app.post(
    '/workflows/:id/cancel',
    { preValidation: needs('enqueue'), schema: { tags: ['workflows'], summary: 'Cancel every run of a workflow that has not ended', params: WorkflowParams, response: { 200: CancelWorkflowResult, ...failures } } },
    async ({ params }) => {
      const runs = await unfinishedRuns(db, params.id)
      if (!runs) throw notFound(params.id)
      // In one statement, so that no run is released by the end of another in between.
      const rows = runs.length > 0 ? await cancel(runs) : []
      return { cancelled: rows.filter((row) => row.status === 'CANCELLED' && row.was !== 'CANCELLED').length, cancelling: rows.filter((row) => row.status === 'RUNNING').length }
    },
  )
}

function notFound(id: string): BrokerError {
  return new BrokerError('WORKFLOW_NOT_FOUND', `No workflow has the id ${id}`)
}
