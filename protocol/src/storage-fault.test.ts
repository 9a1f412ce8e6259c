import t from 'tap'
import { RandomJson } from '../../test/helpers/random-json.js'
import { storageFault } from './storage-fault.js'

const fault = (text: string) => storageFault(text, 64)

t.test('an escaped NUL is found where it stands', (t) => {
  t.strictSame(fault('{"a":"x\\u0000"}'), { code: 'nul_character', position: 7 })
  t.strictSame(fault('{"\\u0000":1}'), { code: 'nul_character', position: 2 })
  t.end()
})

t.test('a backslash that is escaped begins no escape', (t) => {
  t.equal(fault('["\\\\u0000"]'), undefined)
  t.equal(fault('["\\\\ud800"]'), undefined)
  t.strictSame(fault('["\\\\\\u0000"]'), { code: 'nul_character', position: 4 })
  t.end()
})

t.test('a surrogate needs its other half right behind it', (t) => {
  t.equal(fault('["\\ud83d\\ude00","\\uD83D\\uDE00","\\ud800\\udc00\\ud800\\udc00"]'), undefined)
  for (const text of ['\\ud800', '\\ud800x', '\\ud800\\n', '\\ud800\\\\udc00', '\\ud800\\u0041', '\\ud800\\ud800\\udc00', '\\udc00\\ud800']) {
    t.strictSame(fault(`["${text}"]`), { code: 'lone_surrogate', position: 2 }, text)
  }
  t.strictSame(fault('["ab\\udc00"]'), { code: 'lone_surrogate', position: 4 })
  t.end()
})

t.test('a raw surrogate without its other half is a fault too: it has no UTF-8', (t) => {
  t.strictSame(fault('["é\ud800"]'), { code: 'lone_surrogate', position: 3 })
  t.strictSame(fault('["\\ud800\udc00"]'), { code: 'lone_surrogate', position: 8 }, 'half escaped, half raw')
  t.strictSame(fault('["\udc00"]'), { code: 'lone_surrogate', position: 2 })
  t.equal(fault('["\u{1f600}"]'), undefined)
  t.end()
})

t.test('depth counts brackets outside strings', (t) => {
  t.equal(storageFault('[[{"a":"[[[["}]]', 3), undefined)
  t.strictSame(storageFault('[[{"a":[]}]]', 3), { code: 'too_deep', position: 7 })
  t.equal(storageFault('[[],[],[],[[]]]', 3), undefined)
  t.equal(storageFault('"[["', 0), undefined)
  t.end()
})

t.test('a number outside the range of numeric is a fault', (t) => {
  for (const text of ['1e131071', '1E-16383', '1e400', '-1.5e-16382', '0.0001', '"1e999999"', '"\\"1e999999"']) t.equal(fault(`[${text}]`), undefined, text)
  for (const text of ['1e131072', '-1e131072', '1e-16384', '1.5e-16383', '1e999999999999', '1e-999999999999', `1.${'0'.repeat(16_384)}`, '1'.repeat(131_073)]) {
    t.strictSame(fault(`[0, ${text}]`), { code: 'number_out_of_range', position: 4 }, text.slice(0, 20))
  }
  t.end()
})

t.test('numbers that would come back from the database far longer than they went in are a fault', (t) => {
  t.equal(fault(`[${Array(16).fill('1e131071').join(',')}]`), undefined)
  t.match(fault(`[${Array(17).fill('1e131071').join(',')}]`), { code: 'number_out_of_range' })
  t.end()
})

t.test('any document that was made of good parts is good', (t) => {
  const random = new RandomJson(2)
  const texts = Array.from({ length: 2_000 }, () => random.document())
  t.equal(texts.find((text) => fault(text)), undefined)
  t.end()
})
