import t from 'tap'
import { EnvelopeGuard } from './envelope-guard.js'

interface Seen {
  /** What came through at once. */
  now: string
  /** What came through at its release, at the end. */
  later: string
  lastLine: string | undefined
}

/** A text in pieces of so many bytes. */
function through(text: string, size: number, limit = 1_000): Seen {
  let passed = ''
  const guard = new EnvelopeGuard(limit, (chunk) => (passed += chunk.toString('latin1')))
  const bytes = Buffer.from(text, 'latin1')
  for (let at = 0; at < bytes.length; at += size) guard.push(bytes.subarray(at, at + size))
  const now = passed
  const lastLine = guard.lastLine && Buffer.from(guard.lastLine.bytes).toString('latin1')
  guard.release()
  return { now, later: passed.slice(now.length), lastLine }
}

t.test('a line that may be the envelope is held back, in pieces of whatever size, until another follows it', async (t) => {
  const rows: [text: string, now: string, held: string][] = [
    ['one\ntwo {"ok": not}\n{"ok": true}\n', 'one\ntwo {"ok": not}\n', '{"ok": true}\n'],
    ['{"ok": false}', '', '{"ok": false}'],
    ['one\n{"ok": true}\n\n \n', 'one\n', '{"ok": true}\n\n \n'],
    ['one\n{"ok": true}\nthree\n', 'one\n{"ok": true}\nthree\n', ''],
    ['{"ok": 1}\n{"ok": 2}\n\n{"ok": 3}\n', '{"ok": 1}\n{"ok": 2}\n\n', '{"ok": 3}\n'],
    ['{"other": 1}\nx', '{"other": 1}\nx', ''],
  ]
  for (const size of [1, 2, 3, 7, 1_000])
    for (const [text, now, held] of rows) t.same(through(text, size), { now, later: held, lastLine: held || undefined }, `${JSON.stringify(text)} in pieces of ${size}`)
  t.same(through('a\n{"o', 3), { now: 'a\n', later: '{"o', lastLine: undefined }, 'half a mark is none')
  t.same(through('{"ok"123456789', 3, 8), { now: '', later: '{"ok"123', lastLine: '{"ok"123' }, 'no more than the limit is kept')
  t.equal(through('{"ok"\n'.repeat(50_000), 300_000).later, '{"ok"\n', 'any number of them')
})

t.test('once released it holds nothing back', async (t) => {
  let passed = ''
  const guard = new EnvelopeGuard(1_000, (chunk) => (passed += chunk.toString()))
  guard.push(Buffer.from('{"ok":true}\n'))
  guard.release()
  guard.push(Buffer.from('{"ok":true}\n'))
  guard.release()
  t.equal(passed, '{"ok":true}\n{"ok":true}\n')
  t.equal(guard.lastLine, undefined)
})
