import t from 'tap'
import { randomUUID } from 'node:crypto'
import { platform } from 'node:process'
import { marked } from '../../../executor-shims/worker/src/one-shot.test.given.js'
import { Events } from '../events.js'
import { DevWorker } from './dev-worker.js'
import { WorkerProcess } from './worker-process.js'

/** A worker whose broker is not there, and which waits for it. */
const options = { url: 'http://127.0.0.1:1', token: 'x', python: undefined, tasks: [], allowTasks: [], pythonPath: [] }

t.test('whoever waits for a worker that is stopped before it has said hello is told', async (t) => {
  const worker = new DevWorker(new Events(), options)
  const connected = t.rejects(worker.connected(), { code: 'WORKER_ENDED' })
  const reloaded = t.rejects(worker.reload(), { code: 'WORKER_ENDED' })
  worker.kill()
  await Promise.all([connected, reloaded])
})

t.test('messages that do not arrive do not count as its end, nor end this process', { skip: platform !== 'linux' && 'reads /proc' }, async (t) => {
  const token = randomUUID()
  const process = new WorkerProcess({ ...options, name: 'dying', token })
  process.kill()
  // Without a pause in which its end could be heard of.
  while (marked(token).length > 0);
  for (let n = 0; n < 3; n++) process.leaveToOthers(['mail'])
  t.equal(await process.ended, null)
})

t.test('a process that cannot be started has ended', async (t) => {
  const process = new WorkerProcess({ ...options, name: 'nowhere', cwd: '/no/such/folder' })
  t.equal(await process.ended, 1)
})
