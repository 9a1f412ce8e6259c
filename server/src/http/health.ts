import Type from 'typebox'
import type { App } from './typed-app.js'
import type { HttpContext } from './context.js'

/** `/healthz`: the process is alive. `/readyz`: it can do its work. Neither asks for a token or queries the database. */
export function healthRoutes(app: App, context: HttpContext): void {
  app.get('/healthz', { schema: { tags: ['health'], security: [], summary: 'The process is alive' } }, async (_request, reply) => reply.type('text/plain').send('ok'))

  const Ready = Type.Object({ ready: Type.Boolean(), checks: Type.Object({ database: Type.Boolean(), listening: Type.Boolean(), draining: Type.Boolean(), scheduler: Type.Enum(['leads', 'stands_by', 'pg_cron', 'off']) }) })
  app.get('/readyz', { schema: { tags: ['health'], security: [], summary: 'The broker can take runs', response: { 200: Ready, 503: Ready } } }, async (_request, reply) => {
    const checks = context.ready()
    const ready = checks.database && !checks.draining
    return reply.code(ready ? 200 : 503).send({ ready, checks })
  })
}
