import { Writable } from 'node:stream'
import { pino } from 'pino'
import t from 'tap'
import { loadConfig } from '../config.js'
import { buildApp } from './app.js'
import type { HttpContext } from './context.js'

t.test('an access log would have the path of a request, and nothing of its query: that may hold the key of a link', async (t) => {
  let logged = ''
  const log = pino({}, new Writable({ write: (line: Buffer, _encoding, done) => done(void (logged += line.toString())) }))
  const app = await buildApp({ config: loadConfig({}, {}), log, link: { links: { draining: false } } } as unknown as HttpContext)
  t.teardown(() => app.close())
  app.addHook('onRequest', async (request) => request.log.info({ req: request }, 'incoming request'))

  await app.inject('/healthz?key=secret')

  t.match(JSON.parse(logged), { req: { method: 'GET', path: '/healthz' }, msg: 'incoming request' })
  t.notMatch(logged, 'secret')
})
