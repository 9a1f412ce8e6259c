import t from 'tap'
import { WholeLines } from './whole-lines.js'

t.test('pieces become lines, for each stream of each run apart; the end gives what is left', async (t) => {
  const lines = new WholeLines()
  t.strictSame(lines.push('1', 'stdout', 'one li'), [])
  t.strictSame(lines.push('1', 'stderr', 'oh'), [])
  t.strictSame(lines.push('2', 'stdout', 'other\n'), ['other'])
  t.strictSame(lines.push('1', 'stdout', 'ne\r\n\nnext\nbeg'), ['one line', 'next'])
  t.strictSame(lines.end('1'), ['beg', 'oh'])
  t.strictSame(lines.end('1'), [], 'and nothing twice')
  t.strictSame(lines.end('2'), [])
})

t.test('a line without end is not kept for ever', async (t) => {
  const lines = new WholeLines()
  const long = 'x'.repeat(65_537)
  t.strictSame(lines.push('1', 'stdout', long), [long])
  t.strictSame(lines.push('1', 'stdout', 'y\n'), ['y'])
})
