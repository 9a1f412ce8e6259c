import t from 'tap'
import { storageFault } from '../../protocol/src/index.js'
import { emptyDatabase } from '../helpers/database.js'
import { RandomJson } from '../helpers/random-json.js'

t.test('Postgres keeps as jsonb, and gives back, every document that is without a fault', async (t) => {
  const { pool } = await emptyDatabase(t)
  const random = new RandomJson(4)
  const texts = ['[1e131071]', '[1e-16383]', '[1e400,-0.0]', '["\\ud83d\\ude00\\\\u0000"]', `[${'1'.repeat(131_072)}]`, ...Array.from({ length: 1_000 }, () => random.document())]
  t.strictSame(texts.filter((text) => storageFault(text, 64)), [])
  const { rows } = await pool.query<{ text: string }>('SELECT doc::jsonb::text AS text FROM unnest($1::text[]) WITH ORDINALITY AS d (doc, i) ORDER BY i', [texts])
  t.strictSame(rows.map(({ text }) => JSON.parse(text) as unknown), texts.map((text) => JSON.parse(text) as unknown))
})

t.test('Postgres refuses what is called a fault', async (t) => {
  const { pool } = await emptyDatabase(t)
  for (const part of ['"\\u0000"', '"\\ud800"', '"\\udc00"', '"\\ud800\\n"', '1e131072', '1e-16384', `1.${'0'.repeat(16_384)}`]) {
    t.ok(storageFault(`[${part}]`, 64), part.slice(0, 20))
    await t.rejects(pool.query('SELECT $1::jsonb', [`[${part}]`]), { code: /^22/ }, part.slice(0, 20))
  }
})
