import t from 'tap'
import { Silence } from './silence.js'

/** A Silence that resolves `broken` when it was too long. */
function given(t: { teardown(end: () => void): void }) {
  const calls: number[] = []
  let resolve: () => void
  const broken = new Promise<void>((done) => (resolve = done))
  const silence = new Silence((ms) => {
    calls.push(ms)
    resolve()
  })
  t.teardown(() => silence.end())
  return { silence, calls, broken }
}

function block(ms: number) {
  const until = performance.now() + ms
  while (performance.now() < until);
}

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

t.test('it calls back once nothing was heard for the limit', async (t) => {
  const { silence, calls, broken } = given(t)
  const startedAt = performance.now()
  silence.limit(40)
  await broken
  t.same(calls, [40])
  t.ok(performance.now() - startedAt >= 38)
})

t.test('whatever is heard starts the time anew', async (t) => {
  const { silence, calls, broken } = given(t)
  const startedAt = performance.now()
  silence.limit(60)
  setTimeout(() => silence.heard(), 40)
  await broken
  t.same(calls, [60])
  t.ok(performance.now() - startedAt >= 95)
})

t.test('a process that stood still first reads what has come meanwhile', async (t) => {
  const { silence, calls } = given(t)
  silence.limit(20)
  // As after a SIGSTOP: the time is over, and only then the waiting message is read.
  const read = after(21).then(() => silence.heard())
  block(60)
  await read
  await new Promise((resolve) => setImmediate(resolve))
  t.same(calls, [])
})

t.test('after the end it says nothing', async (t) => {
  const { silence, calls } = given(t)
  silence.limit(20)
  const passed = after(40)
  silence.end()
  await passed
  t.same(calls, [])
})
