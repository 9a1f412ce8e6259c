import { equal, expect, type Check } from './check.js'
import { isGone } from './is-gone.js'
import { LoopSession, type Done } from './loop-session.js'
import { specOf } from './one-shot-checks.js'
import type { Subject } from './subject.js'
import { within } from './within.js'

const core = { level: 'core', strength: 'must' } as const
const full = { level: 'full', strength: 'must' } as const
const polite = { level: 'full', strength: 'should' } as const

export const loopChecks: readonly Check[] = [
  { id: 'RQ-LOOP-003', says: 'it says ready, with its version and capabilities', ...core, tasks: [], run: (subject) => withLoop(subject, greets) },
  { id: 'RQ-LOOP-010', says: 'runs that follow each other are answered by one process', ...core, tasks: ['echo'], run: (subject) => withLoop(subject, answersInTurn) },
  { id: 'RQ-LOOP-010', says: 'each is answered once', ...core, tasks: ['echo'], run: (subject) => withLoop(subject, answersOnce) },
  { id: 'RQ-LOOP-001', says: 'messages and members it does not know are ignored', ...core, tasks: ['echo'], run: (subject) => withLoop(subject, ignoresNews) },
  { id: 'RQ-LOOP-001', says: 'a payload of a million characters arrives whole', ...core, tasks: ['echo'], run: (subject) => withLoop(subject, takesLongLines) },
  { id: 'RQ-LOOP-010', says: 'a failing task is answered, and the process goes on', ...core, tasks: ['echo', 'fail'], run: (subject) => withLoop(subject, survivesFailures) },
  { id: 'RQ-LOOP-010', says: 'so is a task that is not there, and a spec that is no JSON', ...core, tasks: ['echo'], run: (subject) => withLoop(subject, survivesNonsense) },
  { id: 'RQ-LOOP-013', says: 'a task that ends the process is not answered', ...core, tasks: ['exit'], run: (subject) => withLoop(subject, exits) },
  { id: 'RQ-LOOP-022', says: 'it ends at shutdown', ...core, tasks: [], run: (subject) => withLoop(subject, shutsDown) },
  { id: 'RQ-LOOP-022', says: 'it ends at the end of stdin', ...core, tasks: [], run: (subject) => withLoop(subject, endsWithInput) },
  { id: 'RQ-LOOP-014', says: 'a ping is answered', ...core, strength: 'should', tasks: [], run: (subject) => withLoop(subject, pongs) },
  { id: 'RQ-LOOP-010', says: 'what a run prints is out before its answer', ...full, tasks: ['print_text'], run: (subject) => withLoop(subject, printsFirst) },
  { id: 'RQ-LOOP-002', says: 'what a task writes to descriptor 1 is no answer', ...full, tasks: ['raw_write'], run: (subject) => withLoop(subject, notForged) },
  { id: 'RQ-LOOP-010', says: 'it prints as much as it wants, and results may be large', ...full, tasks: ['flood', 'big'], run: (subject) => withLoop(subject, talksMuch) },
  { id: 'RQ-LOOP-030', says: 'a stop ends a run that waits', ...full, tasks: ['wait'], run: (subject) => withLoop(subject, (loop) => stops(loop, 'wait')) },
  { id: 'RQ-LOOP-030', says: 'a stop that code cannot hear ends it all the same, once it is hard', ...full, tasks: ['spin', 'ignore_term'], run: killed },
  { id: 'RQ-LOOP-031', says: 'SIGKILL to its group leaves nobody behind', ...full, tasks: ['child_then_wait'], run: (subject) => withLoop(subject, killsTree) },
  { id: 'RQ-LOOP-021', says: 'a run that leaves a process behind uses its own process up', ...polite, tasks: ['leave_child'], run: (subject) => withLoop(subject, recycles) },
  { id: 'RQ-LOOP-022', says: 'it ends when the worker is gone, also during a run', ...polite, tasks: ['wait'], run: (subject) => withLoop(subject, abandoned) },
  { id: 'RQ-LOOP-011', says: 'progress comes while the run goes on', ...full, tasks: ['progress_twice'], run: (subject) => withLoop(subject, reports) },
  { id: 'RQ-LOOP-015', says: 'a task is given the answer to its wish for more time, and the run goes on', ...full, tasks: ['extend'], run: (subject) => withLoop(subject, asksForTime, { REPROQ_EXTEND: '1' }) },
  { id: 'RQ-LOOP-004', says: 'the checkpoint of an earlier attempt is known', ...full, tasks: ['last_checkpoint'], run: (subject) => withLoop(subject, remembers) },
]

async function withLoop(subject: Subject, use: (loop: LoopSession) => Promise<void>, env: Record<string, string> = {}): Promise<void> {
  const loop = new LoopSession(subject.start({ env }))
  try {
    await loop.ready()
    await use(loop)
  } finally {
    loop.process.signal('SIGKILL')
  }
}

async function greets(loop: LoopSession): Promise<void> {
  const { protocol, lang, caps } = await loop.ready()
  equal(protocol, 1, 'protocol')
  expect(typeof lang === 'string' && Array.isArray(caps), 'lang is no text, or caps no array')
}

async function answersInTurn(loop: LoopSession): Promise<void> {
  for (const value of [1, { a: 'é 😀' }, null, [true]]) equal(valueOf(await loop.run(specOf('echo', value))), value, 'What it returns')
}

async function answersOnce(loop: LoopSession): Promise<void> {
  const ids = ['a', 'b', 'c']
  for (const id of ids) await loop.run(specOf('echo', id), { id })
  loop.send({ t: 'shutdown' })
  await loop.over()
  equal(loop.messages.filter(({ t }) => t === 'done').map(({ id }) => id), ids, 'What was answered')
}

async function ignoresNews(loop: LoopSession): Promise<void> {
  loop.send({ t: 'something-new', id: 'x' })
  equal(valueOf(await loop.run(specOf('echo', 1, { novelty: 1 }), { novelty: { deep: true } })), 1, 'What it returns')
}

async function takesLongLines(loop: LoopSession): Promise<void> {
  equal(String(valueOf(await loop.run(specOf('echo', 'é'.repeat(1_000_000))))).length, 1_000_000, 'The length of what it returns')
}

async function survivesFailures(loop: LoopSession): Promise<void> {
  const { ok, message, exception_class } = await loop.run(specOf('fail', 'no luck'))
  equal([ok, message, typeof exception_class], [false, 'no luck', 'string'], 'ok, message and the type of exception_class')
  equal(valueOf(await loop.run(specOf('echo', 1))), 1, 'What the next run returns')
}

async function survivesNonsense(loop: LoopSession): Promise<void> {
  equal((await loop.run(specOf('no_such_task'))).ok, false, 'ok for a task that is not there')
  equal((await loop.run('nonsense')).ok, false, 'ok for a spec that is no JSON')
  equal(valueOf(await loop.run(specOf('echo', 1))), 1, 'What the next run returns')
}

async function exits(loop: LoopSession): Promise<void> {
  loop.begin(specOf('exit', 7))
  equal(await loop.over(), 7, 'The exit status')
  equal(loop.messages.filter(({ t }) => t === 'done'), [], 'What was answered')
}

async function shutsDown(loop: LoopSession): Promise<void> {
  loop.send({ t: 'shutdown' })
  await loop.over()
}

async function endsWithInput(loop: LoopSession): Promise<void> {
  loop.process.endInput()
  await loop.over()
}

async function pongs(loop: LoopSession): Promise<void> {
  loop.send({ t: 'ping', n: 7 })
  equal((await loop.message('pong')).n, 7, 'n')
}

async function printsFirst(loop: LoopSession): Promise<void> {
  for (const text of ['one\n', 'two\n', 'three\n']) {
    await loop.run(specOf('print_text', text))
    // Both pipes are read in the same turn of the event loop; the order within it says nothing.
    await new Promise((resolve) => setImmediate(resolve))
    for (const stream of ['stdout', 'stderr'] as const) expect(loop.process.output.text(stream).endsWith(text), `${JSON.stringify(text)} was not on ${stream} when its run was answered`)
  }
}

async function notForged(loop: LoopSession): Promise<void> {
  equal(valueOf(await loop.run(specOf('raw_write', '{"t":"done","id":"x","ok":true,"return":"forged"}\n'), { id: 'x' })) === 'forged', false, 'Whether it was forged')
}

async function talksMuch(loop: LoopSession): Promise<void> {
  await loop.run(specOf('flood', 2_000_000))
  equal(String(valueOf(await loop.run(specOf('big', 900_000)))).length, 900_000, 'The length of what it returns')
}

async function begin(loop: LoopSession, task: string): Promise<string> {
  const id = loop.begin(specOf(task))
  await within(loop.process.output.said('waiting'), 'The task did not say "waiting"')
  return id
}

async function stops(loop: LoopSession, task: string): Promise<void> {
  const { caps } = await loop.ready()
  const id = await begin(loop, task)
  loop.send({ t: 'cancel', id, grace_ms: 5_000, reason: 'cancelled' })
  if (!(caps as unknown[]).includes('concurrent')) loop.process.signal('SIGTERM')
  await Promise.race([loop.answer(id), loop.over()])
}

async function killed(subject: Subject): Promise<void> {
  for (const task of ['spin', 'ignore_term']) {
    await withLoop(subject, async (loop) => {
      await begin(loop, task)
      loop.process.signal('SIGKILL')
      await loop.over()
    })
  }
}

async function killsTree(loop: LoopSession): Promise<void> {
  await begin(loop, 'child_then_wait')
  const pid = Number(/child (\d+)/.exec(loop.process.output.text('stdout'))?.[1])
  loop.process.signal('SIGKILL')
  await within(isGone(pid), `The child ${pid} is not gone`)
}

async function recycles(loop: LoopSession): Promise<void> {
  await loop.run(specOf('leave_child'))
  expect(loop.messages.some(({ t }) => t === 'recycle'), 'It did not say recycle before it answered')
}

async function abandoned(loop: LoopSession): Promise<void> {
  await begin(loop, 'wait')
  loop.process.closeChannel()
  loop.process.endInput()
  await loop.over()
}

async function reports(loop: LoopSession): Promise<void> {
  await loop.run(specOf('progress_twice'))
  const parts = loop.messages.filter(({ t }) => t === 'progress')
  equal([parts.map(({ pct }) => pct).filter((pct) => pct !== undefined), parts.find(({ checkpoint }) => checkpoint)?.checkpoint], [[50, 100], { at: 1 }], 'What it reported')
}

async function asksForTime(loop: LoopSession): Promise<void> {
  const id = loop.begin(specOf('extend', 300_000))
  const { n, timeout_ms } = await loop.message('extend', (message) => message.id === id)
  equal(timeout_ms, 300_000, 'What it asked for')
  loop.process.answer(`${JSON.stringify({ t: 'extended', n, timeout_ms: 60_000 })}\n`)
  equal(valueOf(await loop.answer(id)), 60_000, 'What it returns')
}

async function remembers(loop: LoopSession): Promise<void> {
  equal(valueOf(await loop.run(specOf('last_checkpoint'), { checkpoint: '{"at":7}' })), { at: 7 }, 'What it returns')
}

function valueOf(done: Done): unknown {
  expect(done.ok === true, `It failed: ${JSON.stringify(done).slice(0, 300)}`)
  return done.return
}
