import t from 'tap'
import { RandomJson } from '../../test/helpers/random-json.js'
import { elements, members } from './json-text.js'

const parse = (text: string): unknown => JSON.parse(text)

t.test('members gives the source of each value, every digit and space of it', (t) => {
  const found = members('{ "big":12345678901234567890, "float" : 1.0 ,"tiny":1E-7,"list":[1 , {"a":"]}"}],"text":"\\u00e9 \\" \\\\"}')
  t.strictSame([...found], [
    ['big', '12345678901234567890'],
    ['float', '1.0'],
    ['tiny', '1E-7'],
    ['list', '[1 , {"a":"]}"}]'],
    ['text', '"\\u00e9 \\" \\\\"'],
  ])
  t.end()
})

t.test('elements gives the source of each value, every digit and space of it', (t) => {
  t.strictSame(elements(' [ 1.0,-0 , "a,]\\"" ,[ ],{ "b" : [2] } , null ]\n'), ['1.0', '-0', '"a,]\\""', '[ ]', '{ "b" : [2] }', 'null'])
  t.end()
})

t.test('names are read, not copied: an escape and the character it means are one name', (t) => {
  t.strictSame([...members('{"\\u0061":1,"__proto__":2,"":3,"a\\n":4}')], [['a', '1'], ['__proto__', '2'], ['', '3'], ['a\n', '4']])
  t.end()
})

t.test('of duplicate names the last one counts', (t) => {
  t.strictSame([...members('{"a":1,"b":2,"\\u0061":3}')], [['a', '3'], ['b', '2']])
  t.end()
})

t.test('nothing inside gives nothing', (t) => {
  t.strictSame([...members(' { } ')], [])
  t.strictSame(elements('[\n]'), [])
  t.end()
})

t.test('a backslash before a quote counts only if it is not itself escaped', (t) => {
  t.strictSame(elements('["\\\\","\\\\\\"","x"]'), ['"\\\\"', '"\\\\\\""', '"x"'])
  t.end()
})

t.test('text that is not what was promised throws instead of running on', (t) => {
  for (const text of ['', '[', '{', '{"a"', '{"a":', '{"a":1', '{"a":"', '{"a":[1}', '{1:2}', '[1]', '"{}"', 'null', '{"a" 1}']) {
    t.throws(() => members(text), SyntaxError, text)
  }
  for (const text of ['', '[', '[1', '[1 ', '["a', '[{"a":1]', '{}', ',', '[,', '[é]']) t.throws(() => elements(text), SyntaxError, text)
  t.end()
})

t.test('the parts of any document mean what JSON.parse makes of the whole', (t) => {
  const random = new RandomJson(1)
  const objects = Array.from({ length: 2_000 }, () => random.object())
  const arrays = Array.from({ length: 2_000 }, () => random.array())
  t.strictSame(objects.map((text) => Object.fromEntries([...members(text)].map(([name, part]) => [name, parse(part)]))), objects.map(parse))
  t.strictSame(arrays.map((text) => elements(text).map(parse)), arrays.map(parse))
  t.end()
})
