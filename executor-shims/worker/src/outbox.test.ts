import t from 'tap'
import { parseWorkerFrame, type WorkerFrameOf } from '../../../protocol/src/index.js'
import { Outbox } from './outbox.js'
import { leased } from './scripted-broker.test.given.js'
import { Slots } from './slots.js'

const WIDE = { items: 100, bytes: 1_000_000 }
const REPORT = JSON.stringify({ outcome: 'ok', output: '"é"' })

function given({ count = 3, maxCount = 100, maxBytes = 1_000_000 } = {}) {
  const outbox = new Outbox(maxCount, maxBytes)
  const slots = new Slots(10)
  const held = Array.from({ length: count }, (_, index) => slots.add(leased(index + 1, 'x')))
  for (const each of held) outbox.add(each, REPORT)
  return { outbox, slots, held }
}

/** Handles in the next frame; every frame must be a legal one. */
function nextHandles(outbox: Outbox, limits = WIDE): number[] | undefined {
  const text = outbox.nextFrame(limits)
  if (text === undefined) return undefined
  const parsed = parseWorkerFrame(text)
  if (!parsed.ok) throw new Error(parsed.message)
  return (parsed.frame as WorkerFrameOf['result']).items.map((item) => item.l)
}

t.test('results go out oldest first, once, and stay until they are removed', async (t) => {
  const { outbox, held } = given()
  t.same(nextHandles(outbox), [1, 2, 3])
  t.equal(nextHandles(outbox), undefined, 'each is sent once')
  t.equal(outbox.size, 3)
  outbox.remove(held[1]!)
  outbox.requeue()
  t.same(nextHandles(outbox), [1, 3], 'on a new link all but the confirmed ones go out again')
  for (const each of held) outbox.remove(each)
  t.equal(outbox.size, 0)
  t.equal(outbox.bytes, 0)
})

t.test('frames keep to the number of items and the number of bytes', async (t) => {
  const { outbox } = given({ count: 5 })
  t.same(nextHandles(outbox, { items: 2, bytes: 1_000_000 }), [1, 2])
  const two = JSON.stringify({ t: 'result', items: [JSON.parse(`{"l":3,${REPORT.slice(1)}`), JSON.parse(`{"l":4,${REPORT.slice(1)}`)] })
  t.same(nextHandles(outbox, { items: 100, bytes: Buffer.byteLength(two) }), [3], 'a comma more than fits')
  t.same(nextHandles(outbox, { items: 100, bytes: Buffer.byteLength(two) + 1 }), [4, 5])
})

t.test('no frame has more items than the protocol allows, whatever the broker says', async (t) => {
  const { outbox } = given({ count: 1_001, maxCount: 2_000 })
  t.equal(nextHandles(outbox, { items: 5_000, bytes: 10_000_000 })?.length, 1_000)
  t.same(nextHandles(outbox), [1_001])
})

t.test('a result larger than the bound of a frame goes alone rather than never', async (t) => {
  const { outbox } = given({ count: 2 })
  t.same(nextHandles(outbox, { items: 100, bytes: 10 }), [1])
  t.same(nextHandles(outbox, { items: 100, bytes: 10 }), [2])
})

t.test('a result carries the handle of the link it goes out on', async (t) => {
  const { outbox, held } = given({ count: 1 })
  t.same(nextHandles(outbox), [1])
  held[0]!.l = 42
  outbox.requeue()
  t.same(nextHandles(outbox), [42])
})

t.test('a removed result is not sent even when it was already queued', async (t) => {
  const { outbox, held } = given()
  outbox.remove(held[0]!)
  t.same(nextHandles(outbox), [2, 3])
})

t.test('a postponed result goes out when it is due, and not before', async (t) => {
  const { outbox, held } = given()
  nextHandles(outbox)
  outbox.postpone(held[0]!, 500)
  outbox.postpone(held[2]!, 300)
  t.equal(outbox.wakePostponed(299), 300, 'it says when to look again')
  t.equal(nextHandles(outbox), undefined)
  t.equal(outbox.wakePostponed(300), 500)
  t.same(nextHandles(outbox), [3])
  t.equal(outbox.wakePostponed(501), undefined)
  t.same(nextHandles(outbox), [1])
})

t.test('a new link does not wait for what was postponed on the old one', async (t) => {
  const { outbox, held } = given({ count: 1 })
  nextHandles(outbox)
  outbox.postpone(held[0]!, 10_000)
  outbox.requeue()
  t.same(nextHandles(outbox), [1])
  t.equal(outbox.wakePostponed(20_000), undefined)
  t.equal(nextHandles(outbox), undefined, 'nor sends it twice')
})

t.test('it is full by number or by bytes, drops nothing, and is roomy again well below that', async (t) => {
  const byCount = given({ count: 4, maxCount: 4 })
  t.equal(byCount.outbox.isFull, true)
  byCount.outbox.remove(byCount.held[0]!)
  t.equal(byCount.outbox.isFull, false)
  t.equal(byCount.outbox.isRoomy, false)
  byCount.outbox.remove(byCount.held[1]!)
  t.equal(byCount.outbox.isRoomy, true)

  const bytes = Buffer.byteLength(REPORT)
  const byBytes = given({ count: 4, maxBytes: 4 * bytes })
  t.equal(byBytes.outbox.bytes, 4 * bytes)
  t.equal(byBytes.outbox.isFull, true)
  t.same(nextHandles(byBytes.outbox), [1, 2, 3, 4])
})
