import t from 'tap'
import { EnvelopeGuard } from './envelope-guard.js'

/** What comes through at once, and at the end, of a text in pieces of so many bytes. */
function through(text: string, size: number, wasEnvelope: boolean, limit = 1_000): [now: string, later: string] {
  let passed = ''
  const guard = new EnvelopeGuard(limit, (chunk) => (passed += chunk.toString('latin1')))
  const bytes = Buffer.from(text, 'latin1')
  for (let at = 0; at < bytes.length; at += size) guard.push(bytes.subarray(at, at + size))
  const now = passed
  guard.finish(wasEnvelope)
  return [now, passed.slice(now.length)]
}

t.test('what may be the envelope is held back, in pieces of whatever size, and is no log when it was', async (t) => {
  for (const size of [1, 2, 3, 7, 1_000]) {
    t.same(through('one\ntwo {"ok": not}\n{"ok": true}\n', size, true), ['one\ntwo {"ok": not}\n', ''], `${size}`)
    t.same(through('one\n{"ok": true}\nthree\n', size, false), ['one\n', '{"ok": true}\nthree\n'])
    t.same(through('{"ok": false}', size, true), ['', ''])
    t.same(through('{"other": 1}\nx', size, true), ['{"other": 1}\nx', ''])
    t.same(through('a\n{"o', size, true), ['a\n', '{"o'], 'half a mark is none')
  }
  t.same(through('{"ok"123456789', 3, false, 8), ['', '{"ok"123'], 'no more than the limit is kept')
})
