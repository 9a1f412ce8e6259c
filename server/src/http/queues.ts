import Type from 'typebox'
import { Operation, PauseRequest, Problem, QueueControl, QueueList, RetireResult, TaskList, WorkerList } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { startOperation } from '../runs/operation.js'
import { listQueues, pauseQueue, resumeQueue } from '../runs/queues.js'
import { listTasks } from '../runs/tasks.js'
import { listWorkers } from '../sessions/workers.js'
import { needs } from './access.js'
import type { HttpContext } from './context.js'
import type { App } from './typed-app.js'

const NameParams = Type.Object({ name: Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$' }) })
const failures = { '4xx': Problem, '5xx': Problem }

/** Queues, tasks and workers: look, pause, resume, clear; retire a worker. */
export function queueRoutes(app: App, context: HttpContext): void {
  const { db, reads } = context

  app.get('/queues', { preValidation: needs('read'), schema: { tags: ['queues'], summary: 'Queues and what waits in them', response: { 200: QueueList, ...failures } } }, async () => ({ queues: await listQueues(reads) }))

  app.post(
    '/queues/:name/pause',
    { preValidation: needs('admin'), schema: { tags: ['queues'], summary: 'Pause a queue: at once, for every broker and worker; what runs goes on', params: NameParams, body: PauseRequest, response: { 200: QueueControl, ...failures } } },
    ({ params, body }) => pauseQueue(db, params.name, body.reason ?? null),
  )

  app.post(
    '/queues/:name/resume',
    { preValidation: needs('admin'), schema: { tags: ['queues'], summary: 'Let a paused queue go on', params: NameParams, response: { 200: QueueControl, ...failures } } },
    ({ params }) => resumeQueue(db, params.name),
  )

  app.post(
    '/queues/:name/clear',
    { preValidation: needs('admin'), schema: { tags: ['queues'], summary: 'Cancel what waits in a queue, as an operation', params: NameParams, response: { 202: Operation, ...failures } } },
    async ({ params, token }, reply) => {
      const operation = await startOperation(db, 'cancel', { queue: params.name, status: 'READY' }, token.name)
      context.operate()
      return reply.code(202).send(operation)
    },
  )

  app.get('/tasks', { preValidation: needs('read'), schema: { tags: ['tasks'], summary: 'Tasks of the newest runs, and how these stand', response: { 200: TaskList, ...failures } } }, async () => ({ tasks: await listTasks(reads) }))

  app.get('/workers', { preValidation: needs('read'), schema: { tags: ['workers'], summary: 'Workers', response: { 200: WorkerList, ...failures } } }, async () => ({ workers: await listWorkers(reads) }))

  for (const how of ['drain', 'stop'] as const) {
    const summary = how === 'drain' ? 'A worker finishes what it runs, takes no more, and ends' : 'A worker gives back what it runs, uncounted, and ends'
    app.post(
      `/workers/:name/${how}`,
      { preValidation: needs('admin'), schema: { tags: ['workers'], summary, params: NameParams, response: { 200: RetireResult, ...failures } } },
      async ({ params: { name } }) => {
        const worker = (await listWorkers(reads)).find((one) => one.name === name)
        if (!worker) throw new BrokerError('WORKER_NOT_FOUND', `No worker has the name ${JSON.stringify(name)}`)
        // One without a session is some other program's: its brokers cannot reach it.
        if (worker.connected) await context.retire(name, how)
        return { name, told: worker.connected }
      },
    )
  }
}
