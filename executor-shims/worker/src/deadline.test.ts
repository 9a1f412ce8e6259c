import t from 'tap'
import { trustMs, TrustWindow } from './deadline.js'

const terms = { leaseMs: 60_000, safetyMs: 10_000, reconnectMs: 15_000 }

/** What happens to the window, and the deadline after it. */
type Step = [what: (window: TrustWindow) => void, deadline: number]

const stories: Record<string, Step[]> = {
  'before a welcome nothing is trusted': [[() => {}, Number.NEGATIVE_INFINITY]],
  'a welcome counts from the sending of hello': [[(w) => w.welcomed(1_000, terms), 51_000]],
  'an answered heartbeat counts from its sending, not from its answer': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.beat(1, 10_000), 50_000],
    [(w) => w.acknowledged(1, true), 60_000],
  ],
  'a heartbeat that was not written down moves nothing': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.beat(1, 10_000), 50_000],
    [(w) => w.acknowledged(1, false), 50_000],
    [(w) => w.acknowledged(1, true), 50_000],
  ],
  'answers out of order never bring the deadline forward': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => (w.beat(1, 10_000), w.beat(2, 20_000)), 50_000],
    [(w) => w.acknowledged(2, true), 70_000],
    [(w) => w.acknowledged(1, true), 70_000],
  ],
  'an answer to nothing moves nothing': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.acknowledged(7, true), 50_000],
  ],
  'a dropped socket shortens the deadline': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.dropped(5_000), 20_000],
  ],
  'a dropped socket never lengthens it': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.dropped(45_000), 50_000],
  ],
  'an answer on a socket that is gone counts for nothing': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.beat(1, 10_000), 50_000],
    [(w) => w.dropped(11_000), 26_000],
    [(w) => w.acknowledged(1, true), 26_000],
  ],
  'a new welcome, perhaps of a broker with other terms, starts afresh': [
    [(w) => w.welcomed(0, terms), 50_000],
    [(w) => w.dropped(1_000), 16_000],
    [(w) => w.welcomed(2_000, { leaseMs: 8_000, safetyMs: 1_000, reconnectMs: 4_000 }), 9_000],
    [(w) => w.beat(3, 4_000), 9_000],
    [(w) => w.acknowledged(3, true), 11_000],
  ],
}

for (const [promise, steps] of Object.entries(stories)) {
  t.test(promise, async (t) => {
    const window = new TrustWindow()
    for (const [act, deadline] of steps) {
      act(window)
      t.equal(window.deadline, deadline)
    }
  })
}

t.test('the window is over at the deadline itself', async (t) => {
  const window = new TrustWindow()
  window.welcomed(0, terms)
  t.equal(window.isOver(49_999), false)
  t.equal(window.isOver(50_000), true)
})

t.test('a safety margin that leaves no time to work becomes a quarter of the lease', async (t) => {
  t.equal(trustMs({ ...terms, leaseMs: 300, safetyMs: 10_000 }), 225)
  t.equal(trustMs({ ...terms, leaseMs: 300, safetyMs: 300 }), 225)
  t.equal(trustMs({ ...terms, leaseMs: 300, safetyMs: 299 }), 1)
  t.equal(trustMs({ ...terms, leaseMs: 300, safetyMs: 0 }), 300)
})
