import { readFileSync } from 'node:fs'
import t from 'tap'
import { CLOSE_CODES, reconnectAfter, type Reconnect } from './codes.js'

const { vectors } = JSON.parse(readFileSync(new URL('../vectors/close-codes.json', import.meta.url), 'utf8')) as {
  vectors: { code: number; reconnect: Reconnect }[]
}

for (const { code, reconnect } of vectors) t.equal(reconnectAfter(code), reconnect, `after ${code}: ${reconnect}`)

t.test('every close code has a vector, and no two names share a number', (t) => {
  const codes = Object.values(CLOSE_CODES).map(({ code }) => code)
  t.strictSame(codes.filter((code) => !vectors.some((vector) => vector.code === code)), [])
  t.equal(new Set(codes).size, codes.length)
  t.end()
})
