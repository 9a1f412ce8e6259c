import t from 'tap'
import { float, jsonText } from './float.js'

t.test('a whole number can be said to be a float', async (t) => {
  t.equal(jsonText({ args: [float(2), 2, float(-0), float(0.5), float(1e21), float(123456789012)], text: 'float 2' }), '{"args":[2.0,2,-0.0,0.5,1e+21,123456789012.0],"text":"float 2"}')
  t.equal(jsonText([float(2)]), '[2.0]')
  t.equal(jsonText(float(2)), '2.0')
  t.equal(jsonText(['no', 'floats', 2]), '["no","floats",2]')
  t.equal(jsonText(undefined), undefined as unknown as string)
})

t.test('elsewhere it is the number', async (t) => {
  t.equal(JSON.stringify([float(2)]), '[2]')
  t.equal(float(2) + 1, 3)
  t.throws(() => jsonText([1n]), TypeError)
  t.equal(JSON.stringify([float(2)]), '[2]', 'also after one could not be printed')
})

t.test('what JSON has no word for is refused', async (t) => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) t.throws(() => float(value), { code: 'INVALID_OPTION', message: new RegExp(String(value)) })
})

t.test('text that looks like a printed float stays text', async (t) => {
  const texts: string[] = []
  jsonText([float(1), { toJSON: () => texts.push((float(3) as unknown as { toJSON(): string }).toJSON()) }])
  t.equal(jsonText([(texts[0] as string).replace(/[0-9a-f]{8}-/, '00000000-'), float(2)]), `["${(texts[0] as string).replace(/[0-9a-f]{8}-/, '00000000-')}",2.0]`)
})
