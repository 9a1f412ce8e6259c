import t from 'tap'
import { serverEvents } from './event-stream.js'

t.test('events are read whatever way the bytes are cut', async (t) => {
  const text = ': hello\r\nevent: state\r\ndata: {"name":"grüße"}\r\n\r\nid: 3\ndata:first\ndata: second\n\nevent: nothing\n\ndata: unfinished\n'
  const expected = [
    { name: 'state', data: '{"name":"grüße"}' },
    { name: 'message', data: 'first\nsecond' },
  ]
  for (const size of [1, 2, 7, 1_000]) t.same(await collect(cut(text, size)), expected, `${size} bytes at a time`)
})

async function* cut(text: string, size: number) {
  const bytes = new TextEncoder().encode(text)
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size)
}

async function collect(chunks: AsyncIterable<Uint8Array>) {
  const events = []
  for await (const event of serverEvents(chunks)) events.push(event)
  return events
}
