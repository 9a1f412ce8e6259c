import t from 'tap'
import { HEAD } from '../runs/lease.js'
import { Watermarks } from './watermarks.js'

t.test('a queue is looked at from its mark on, and from its head again a second after it last was', async (t) => {
  let now = 0
  const marks = new Watermarks(() => now)
  t.strictSame(marks.of(['a', 'b']), [HEAD, HEAD])
  marks.reached(new Map([['a', '10']]))
  t.strictSame(marks.of(['a', 'b']), ['10', HEAD])
  now = 900
  marks.reached(new Map([['a', '20']]))
  t.strictSame(marks.of(['a']), ['20'])
  now = 1_000
  t.strictSame(marks.of(['a']), [HEAD], 'a mark that moves on does not live longer')
  marks.reached(new Map([['a', '30']]))
  t.strictSame(marks.of(['a']), ['30'])
})

t.test('forgetting says whether there was anything to forget', async (t) => {
  const marks = new Watermarks(() => 0)
  marks.reached(new Map([['a', '10']]))
  t.equal(marks.forget(['a', 'b']), true)
  t.equal(marks.forget(['a', 'b']), false)
  t.strictSame(marks.of(['a']), [HEAD])
})
