import t from 'tap'
import { Head, LogFeed, Tail } from './bounded-output.js'

const pieces = (text: string, size: number) => Array.from({ length: Math.ceil(Buffer.byteLength(text) / size) }, (_, i) => Buffer.from(text).subarray(i * size, (i + 1) * size))

t.test('a head keeps the first bytes and knows that there were more', async (t) => {
  const head = new Head(5)
  pieces('abcde', 2).forEach((piece) => head.push(piece))
  t.same([head.bytes.toString(), head.overflowed], ['abcde', false])
  head.push(Buffer.from('f'))
  t.same([head.bytes.toString(), head.overflowed], ['abcde', true])
})

t.test('a tail keeps the last bytes', async (t) => {
  for (const size of [1, 2, 3, 7, 30]) {
    const tail = new Tail(5)
    pieces('abcdefghij', size).forEach((piece) => tail.push(piece))
    t.equal(tail.text, 'fghij', `in pieces of ${size}`)
  }
})

t.test('a log feed never splits a character', async (t) => {
  const texts: string[] = []
  const feed = new LogFeed(100, (text) => texts.push(text))
  pieces('zwölf €', 1).forEach((piece) => feed.push(piece))
  t.same(texts, ['z', 'w', 'ö', 'l', 'f', ' ', '€'])
})

t.test('a log feed stops at its limit, and says so once', async (t) => {
  const texts: string[] = []
  const feed = new LogFeed(5, (text) => texts.push(text))
  for (const piece of pieces('abcdefghij', 5)) feed.push(piece)
  feed.push(Buffer.from('more'))
  t.same(texts, ['abcde', '\n[cut off after 5 bytes]\n'])
})
