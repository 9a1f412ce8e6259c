import t from 'tap'
import type { WorkerFrame, WorkerFrameOf } from '../../../protocol/src/index.js'
import { OutputLane } from './output-lane.js'
import { leased, LIMITS } from './scripted-broker.test.given.js'
import { Slots } from './slots.js'

const WELCOME = { t: 'welcome', caps: ['logs', 'progress'], limits: { ...LIMITS, frame: 4_194_304, log: 1_048_576, checkpoint: 100 } } as unknown as Parameters<OutputLane['welcomed']>[0]

/** A lane over a link that only writes down what it was given, with a clock that a test moves. */
function given(t: { teardown(end: () => void): void }, welcome = WELCOME) {
  const sent: WorkerFrame[] = []
  const warnings: string[] = []
  const clock = { now: 0 }
  const link = {
    isOpen: true,
    bufferedBytes: 0,
    send(text: string) {
      sent.push(JSON.parse(text) as WorkerFrame)
      return true
    },
  }
  const lane = new OutputLane({ link, now: () => clock.now, log: { debug() {}, info() {}, error() {}, warn: (message) => void warnings.push(message) } })
  t.teardown(() => lane.stop())
  lane.welcomed(welcome)
  const slots = new Slots(10)
  const hold = (run: number) => {
    const held = slots.add(leased(run, 'x'))
    slots.startNext()
    return held
  }
  const logs = () => sent.filter((frame): frame is WorkerFrameOf['log'] => frame.t === 'log').flatMap(({ items }) => items)
  const progress = () => sent.filter((frame): frame is WorkerFrameOf['progress'] => frame.t === 'progress').flatMap(({ items }) => items)
  const until = async (isSo: () => boolean) => {
    for (let turns = 0; !isSo() && turns < 200; turns++) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return { lane, link, sent, warnings, clock, slots, hold, logs, progress, until }
}

t.test('what is printed goes out in a moment, small writes together, and says where it belongs', async (t) => {
  const { lane, hold, logs, until } = given(t)
  const held = hold(1)
  lane.print(held, 'stdout', 'é\n')
  lane.print(held, 'stdout', 'b\n')
  lane.print(held, 'stderr', 'oops\0\ud800!')
  lane.print(held, 'stdout', 'c')
  t.same(logs(), [], 'not at once')
  await until(() => logs().length > 0)
  t.same(logs(), [
    { l: 1, seq: 1, stream: 'stdout', off: 0, text: 'é\nb\n' },
    { l: 1, seq: 2, stream: 'stderr', off: 0, text: 'oops\ufffd\ufffd!' },
    { l: 1, seq: 3, stream: 'stdout', off: 5, text: 'c' },
  ])
})

t.test('a long text is cut into pieces a frame takes, through no character', async (t) => {
  const { lane, hold, logs, sent } = given(t)
  const held = hold(1)
  const text = `x${'😀'.repeat(40_000)}`
  lane.print(held, 'stdout', text)
  lane.finish(held)
  t.equal(logs().map((piece) => piece.text).join(''), text)
  for (const piece of logs()) t.ok(piece.text.length <= 32_768 && piece.text.isWellFormed())
  t.ok(sent.length > 1)
  for (const { off, seq } of logs()) t.equal(off, Buffer.byteLength(logs().slice(0, seq - 1).map((piece) => piece.text).join('')))
})

t.test('when its code has ended a run has its say at once, ahead of its result', async (t) => {
  const { lane, hold, logs, progress } = given(t)
  const held = hold(1)
  lane.print(held, 'log', 'last words')
  lane.progress(held, { pct: 10, checkpoint: '1' })
  lane.progress(held, { note: 'n', checkpoint: '2' })
  lane.finish(held)
  t.match(logs(), [{ text: 'last words' }])
  t.same(progress(), [{ l: 1, pct: 10, checkpoint: '2', note: 'n' }])
})

t.test('progress goes out once a second for each run', async (t) => {
  const { lane, hold, progress, clock, until } = given(t)
  const held = hold(1)
  lane.progress(held, { pct: 1 })
  await until(() => progress().length === 1)
  clock.now = 500
  lane.progress(held, { pct: 2 })
  lane.progress(held, { pct: 3 })
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(progress().length, 1)
  clock.now = 1_000
  lane.progress(held, { note: 'x' })
  await until(() => progress().length === 2)
  t.same(progress()[1], { l: 1, pct: 3, note: 'x' })
})

t.test('on a congested line output waits within bounds, what is more is dropped and counted; an end drops the rest', async (t) => {
  const { lane, link, hold, logs } = given(t)
  const held = hold(1)
  link.bufferedBytes = 1_000_000
  for (let i = 0; i < 60; i++) lane.print(held, 'stdout', 'x'.repeat(10_000))
  await new Promise((resolve) => setTimeout(resolve, 150))
  t.same(logs(), [], 'nothing goes out')
  link.bufferedBytes = 0
  lane.print(held, 'stdout', 'y')
  await new Promise((resolve) => setTimeout(resolve, 250))
  const sentBytes = logs().reduce((sum, { text }) => sum + text.length, 0)
  t.ok(sentBytes <= 540_000, `${sentBytes} bytes were kept`)
  lane.print(held, 'stdout', 'z')
  lane.finish(held)
  t.match(logs().at(-1), { text: 'z', off: 600_001, dropped: 600_001 - sentBytes })

  const other = hold(2)
  lane.print(other, 'stderr', 'abc')
  link.bufferedBytes = 1_000_000
  lane.finish(other)
  t.same(logs().at(-1), { l: 2, seq: 2, stream: 'stderr', off: 3, text: '', dropped: 3 }, 'the result does not wait for it')
})

t.test('a stream ends at the limit of the broker, and says so', async (t) => {
  const { lane, hold, logs } = given(t, { ...WELCOME, limits: { ...WELCOME.limits, log: 10 } })
  const held = hold(1)
  lane.print(held, 'stdout', '12345')
  lane.print(held, 'stdout', '6789é')
  lane.print(held, 'stdout', 'more')
  lane.finish(held)
  t.equal(logs().map(({ text }) => text).join(''), '123456789\n[cut off after 10 bytes]\n')
})

t.test('a checkpoint over the limit is not sent; the log of the run says why', async (t) => {
  const { lane, hold, logs, progress, warnings } = given(t)
  const held = hold(1)
  lane.progress(held, { checkpoint: `"${'x'.repeat(99)}"` })
  lane.finish(held)
  t.same(progress(), [{ l: 1 }])
  t.match(logs()[0]?.text, /checkpoint of 101 bytes was not kept: the broker's limit is 100 \(REPROQ_CHECKPOINT_BYTES\)/)
  t.equal(warnings.length, 1)
})

t.test('a broker that did not list it gets nothing; a new link gets what ended meanwhile, under its new handle', async (t) => {
  const { lane, link, sent, hold, slots, logs } = given(t, { ...WELCOME, caps: [] })
  lane.print(hold(1), 'stdout', 'unheard')
  lane.progress(hold(2), { pct: 1 })
  await new Promise((resolve) => setTimeout(resolve, 150))
  t.same(sent, [])
  lane.welcomed(WELCOME)
  const held = hold(3)
  link.isOpen = false
  lane.print(held, 'stdout', 'kept')
  slots.ended(held)
  lane.finish(held)
  held.l = 30
  link.isOpen = true
  lane.welcomed(WELCOME)
  t.match(logs(), [{ l: 30, text: 'kept' }])
})
