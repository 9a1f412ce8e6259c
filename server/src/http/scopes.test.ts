import { readFileSync } from 'node:fs'
import t from 'tap'
import { isScope, permits, permitsAnyWork, permitsWork } from './scopes.js'

t.test('a scope is one of the named ones, or work on one queue or on a prefix', async (t) => {
  for (const scope of ['enqueue', 'read', 'schedules', 'admin', 'work:queue:mail', 'work:queue:mail-*', 'work:queue:*', 'work:queue:a:b']) t.ok(isScope(scope), scope)
  for (const scope of ['', 'Admin', 'work', 'work:queue', 'work:queue:', 'work:queue:a*b', 'work:queue:**', ' read', 'read ', 'admin,read', `work:queue:${'a'.repeat(256)}`]) t.notOk(isScope(scope), scope)
})

t.test('a permission is had by its own scope and by admin, and by no other', async (t) => {
  t.ok(permits(['enqueue'], 'enqueue'))
  t.ok(permits(['admin'], 'enqueue'))
  t.ok(permits(['admin'], 'read'))
  t.notOk(permits(['read'], 'enqueue'))
  t.notOk(permits(['enqueue', 'work:queue:*'], 'read'))
  t.notOk(permits(['read', 'enqueue'], 'admin'))
  t.notOk(permits([], 'read'))
})

t.test('work is allowed on queues that a pattern names: exactly, or by the part before the star', async (t) => {
  const rows: [scope: string, queue: string, allowed: boolean][] = [
    ['work:queue:mail', 'mail', true],
    ['work:queue:mail', 'mail-eu', false],
    ['work:queue:mail', 'Mail', false],
    ['work:queue:mail-*', 'mail-eu', true],
    ['work:queue:mail-*', 'mail-', true],
    ['work:queue:mail-*', 'mail', false],
    ['work:queue:mail-*', 'xmail-eu', false],
    ['work:queue:*', 'anything', true],
    ['admin', 'anything', true],
    ['enqueue', 'enqueue', false],
    ['work:queue:a.c', 'abc', false],
    ['admin', 'nul\0', false],
  ]
  for (const [scope, queue, allowed] of rows) t.equal(permitsWork([scope], queue), allowed, `${scope} on ${queue}`)
  t.ok(permitsWork(['read', 'work:queue:a', 'work:queue:b'], 'b'), 'one of several is enough')
})

t.test('a token without any scope for work may not connect as a worker', async (t) => {
  t.notOk(permitsAnyWork(['enqueue', 'read']))
  t.notOk(permitsAnyWork([]))
  t.ok(permitsAnyWork(['work:queue:mail']))
  t.ok(permitsAnyWork(['admin']))
})

t.test('the vectors that other implementations are held to hold here', async (t) => {
  const { vectors } = JSON.parse(readFileSync(new URL('../../../protocol/vectors/scopes.json', import.meta.url), 'utf8')) as { vectors: { scopes: string[]; covers: string[]; leaves_out: string[] }[] }
  for (const { scopes, covers, leaves_out: leavesOut } of vectors) {
    t.strictSame(covers.filter((queue) => !permitsWork(scopes, queue)), [], `${scopes.join()} covers`)
    t.strictSame(leavesOut.filter((queue) => permitsWork(scopes, queue)), [], `${scopes.join()} leaves out`)
  }
})
