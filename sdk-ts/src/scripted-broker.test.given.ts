import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import type { Run } from '../../protocol/src/rest.js'

/** How the scripted broker treats one request: an answer, a cut connection, or whatever it does by hand. */
export type Reply = { status?: number; headers?: Record<string, string>; body?: unknown } | 'hang up' | ((response: ServerResponse, request: Received) => void)

export interface Received {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: unknown
  /** The body as it came. */
  text: string
}

export interface ScriptedBroker {
  url: string
  /** What was asked so far. */
  requests: Received[]
  /** Resolves when the n-th request (from 1) has arrived. */
  received(n: number): Promise<void>
  /** Cuts every connection, is away, and comes back at the same address when the answer is called. */
  crash(): Promise<() => Promise<void>>
}

/** A broker on a real socket that gives one reply after another; the last one goes on for ever. */
export async function scriptedBroker(t: Test, ...replies: Reply[]): Promise<ScriptedBroker> {
  const requests: Received[] = []
  const waiting = new Set<() => void>()
  const listener = async (incoming: IncomingMessage, response: ServerResponse) => {
    const request = await read(incoming)
    requests.push(request)
    for (const notify of waiting) notify()
    give(replies[Math.min(requests.length, replies.length) - 1] ?? {}, request, response)
  }
  let server = await listen(listener, 0)
  const { port } = server.address() as AddressInfo
  t.teardown(() => stop(server))
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    received: (n) =>
      new Promise((resolve) => {
        const look = () => void (requests.length >= n && (waiting.delete(look), resolve()))
        waiting.add(look)
        look()
      }),
    async crash() {
      await stop(server)
      return async () => void (server = await listen(listener, port))
    },
  }
}

/** A run as the broker shows it. */
export const aRun = (fields: Partial<Run> = {}): Run => ({
  id: '7',
  task: 'email.send',
  queue: 'default',
  priority: 0,
  status: 'READY',
  attempts: 0,
  max_attempts: 3,
  timeout_ms: 900_000,
  enqueued_at: '2030-01-01T00:00:00.000Z',
  run_after: null,
  started_at: null,
  finished_at: null,
  cancel_requested: false,
  leased_by: null,
  last_error: null,
  args: [],
  kwargs: {},
  output: null,
  errors: [],
  worker_ids: [],
  lock_key: null,
  concurrency_key: null,
  concurrency_limit: null,
  rate_key: null,
  fair_key: null,
  expires_at: null,
  retry: null,
  blocked_by: null,
  waits_for: null,
  workflow_id: null,
  node: null,
  ...fields,
})

export const aProblem = (status: number, code: string, more: object = {}) => ({
  status,
  headers: { 'content-type': 'application/problem+json' },
  body: { type: 'about:blank', title: 'Refused', status, detail: `detail of ${code}`, code, ...more },
})

async function listen(listener: (incoming: IncomingMessage, response: ServerResponse) => Promise<void>, port: number): Promise<Server> {
  const server = createServer((incoming, response) => void listener(incoming, response))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

async function stop(server: Server): Promise<void> {
  if (!server.listening) return
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
}

async function read(incoming: IncomingMessage): Promise<Received> {
  let text = ''
  for await (const chunk of incoming) text += String(chunk)
  return { method: incoming.method ?? '', path: incoming.url ?? '', headers: incoming.headers, body: text === '' ? undefined : JSON.parse(text), text }
}

function give(reply: Reply, request: Received, response: ServerResponse): void {
  if (reply === 'hang up') return void response.destroy()
  if (typeof reply === 'function') return reply(response, request)
  const { status = 200, headers = { 'content-type': 'application/json' }, body = {} } = reply
  response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body))
}
