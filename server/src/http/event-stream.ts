import { PassThrough } from 'node:stream'
import { isFinal } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import type { Said } from '../engine/progress.js'
import { find, type FoundRun } from '../runs/find.js'
import { needs } from './access.js'
import type { App } from './typed-app.js'
import type { HttpContext } from './context.js'
import { progressText } from './progress-text.js'
import { RunParams } from './runs.js'

const KEEP_ALIVE_MS = 15_000
/** How often a run that another broker may be moving is looked at. */
const LOOK_MS = 1_000

/** `GET /runs/:id/events`: server-sent events until the run is final: `state`, one per change, and `progress`, what its code says. */
export function eventStreamRoute(app: App, context: HttpContext): void {
  app.get(
    '/runs/:id/events',
    { preValidation: needs('read'), schema: { tags: ['runs'], summary: 'The run as a stream of server-sent events', params: RunParams, produces: ['text/event-stream'] } },
    async ({ params, raw, token }, reply) => {
      const found = await find(context.reads, params.id)
      if (!found) throw new BrokerError('RUN_NOT_FOUND', `No run has the id ${params.id}`)
      const stream = new PassThrough()
      follow(context, found, stream, context.streams.opened(token, raw))
      return reply.type('text/event-stream').header('cache-control', 'no-store').send(stream)
    },
  )
}

/** Writes the run's state whenever it changed, until the final one, or until `ended` aborts. */
function follow({ reads, events, log, progress }: HttpContext, first: FoundRun, stream: PassThrough, ended: AbortSignal): void {
  let last = ''
  let looking = false
  const tell = (run: FoundRun | undefined) => {
    if (!run) return stop()
    const state = `${run.status} ${run.attempts}`
    if (state !== last) stream.write(`event: state\ndata: ${run.json}\n\n`)
    last = state
    if (isFinal(run.status)) stop()
  }
  const look = async () => {
    if (looking || stream.writableEnded) return
    looking = true
    try {
      tell(await find(reads, first.id))
    } catch (error) {
      log.debug({ err: error, runId: first.id }, 'an event stream could not look; it will look again')
    } finally {
      looking = false
    }
  }
  const mine = ({ runId }: { runId: string }) => {
    if (runId === first.id) void look()
  }
  const say = (runId: string, said: Said) => {
    if (runId === first.id) stream.write(`event: progress\ndata: ${progressText(said)}\n\n`)
  }
  const unsubscribe = [events.on('run.leased', mine), events.on('run.settled', mine), events.on('run.progress', ({ runId, ...said }) => say(runId, said))]
  const timers = [setInterval(() => void look(), LOOK_MS), setInterval(() => stream.write(': keep-alive\n\n'), KEEP_ALIVE_MS)]
  function stop() {
    ended.removeEventListener('abort', stop)
    for (const off of unsubscribe) off()
    for (const timer of timers) clearInterval(timer)
    stream.end()
  }
  ended.addEventListener('abort', stop, { once: true })
  tell(first)
  const said = progress.of(first.id, first.attempts)
  if (said && !stream.writableEnded) say(first.id, said)
  if (ended.aborted) stop()
}
