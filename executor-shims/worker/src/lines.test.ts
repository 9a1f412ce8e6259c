import t from 'tap'
import { Lines } from './lines.js'
import type { Progress } from './progress.js'
import { ResultChannel } from './result-channel.js'

/** Every way to cut a text in two, and one byte at a time. */
function* cuts(text: string): Generator<Buffer[]> {
  const bytes = Buffer.from(text)
  for (let at = 0; at <= bytes.length; at++) yield [bytes.subarray(0, at), bytes.subarray(at)]
  yield [...bytes].map((byte) => Buffer.of(byte))
}

t.test('lines come whole however they are cut, and too long ones are passed over', async (t) => {
  for (const chunks of cuts('ab\n\ncdé\n1234567890\nend\nnot yet')) {
    const lines: string[] = []
    let tooLong = 0
    const reader = new Lines(7, (line) => lines.push(line.toString()), () => tooLong++)
    for (const chunk of chunks) reader.push(chunk)
    t.same([lines, tooLong], [['ab', 'cdé', 'end'], 1])
  }
})

t.test('messages before the envelope are progress, and everything from the envelope on is kept as it came', async (t) => {
  const envelope = '{"ok":true,"return":1}\n{"t":"progress","pct":3}\n'
  for (const chunks of cuts(`{"t":"progress","pct":1}\n{"t":"else"}\n{"t":broken\n{"t":"progress","note":"x"}\n${envelope}`)) {
    const told: Progress[] = []
    const channel = new ResultChannel(1_000, (progress) => told.push(progress))
    for (const chunk of chunks) channel.push(chunk)
    t.same([told, channel.captured?.bytes.toString()], [[{ pct: 1 }, { note: 'x' }], envelope])
  }
})

t.test('a message without an end is no message, and does not grow without bound', async (t) => {
  const channel = new ResultChannel(10)
  for (let i = 0; i < 5; i++) channel.push(Buffer.from('{"t":"'))
  t.same([channel.captured?.overflowed, channel.captured?.bytes.length], [true, 10])
})
