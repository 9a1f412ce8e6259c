import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { canonicalJson } from '../../../protocol/src/index.js'
import { RandomJson } from '../../../test/helpers/random-json.js'
import { specHash } from './spec-hash.js'

interface Vector {
  name: string
  text: string
  sha256: string
}

const { vectors } = JSON.parse(readFileSync(new URL('../../../protocol/vectors/spec-hash.json', import.meta.url), 'utf8')) as { vectors: Vector[] }
for (const { name, text, sha256 } of vectors) t.equal(specHash(text), sha256, name)

t.test('the way a document is spelled does not matter, only what it says', (t) => {
  t.equal(canonicalJson(' { "b" : [ 1 , 2.50 ] ,\n"\\u0061":"\\/\\u00e9" } '), '{"a":"/é","b":[1,2.5]}')
  t.end()
})

t.test('of duplicate names the last one counts, wherever it stands', (t) => {
  t.equal(canonicalJson('{"b":1,"a":2,"b":3,"\\u0061":4}'), '{"a":4,"b":3}')
  t.equal(canonicalJson('{"a":1,"a":2,"a":3}'), '{"a":3}')
  t.end()
})

t.test('a float beyond the doubles is what Python makes of it', (t) => {
  t.equal(canonicalJson('[1e400,-1e400,1e-400,-1e-400]'), '[Infinity,-Infinity,0.0,-0.0]')
  t.end()
})

t.test('a lone surrogate has no canonical form', (t) => {
  for (const text of ['["\\ud800"]', '{"\\udc00":1}', '["\ud800"]']) t.throws(() => canonicalJson(text), SyntaxError, text)
  t.equal(canonicalJson('["\\\\ud800"]'), '["\\\\ud800"]', 'an escaped backslash begins no escape')
  t.end()
})

t.test('text that is no JSON throws instead of running on', (t) => {
  for (const text of ['', '[', '{"a"', '{"a":', '[1', '[1,', '"a', '{a:1}', '[}']) t.throws(() => canonicalJson(text), SyntaxError, text)
  t.end()
})

const pythonMissing = spawnSync('python3', ['--version']).error ? 'python3 is not installed' : false

t.test('CPython prints the same for any document', { skip: pythonMissing }, (t) => {
  const random = new RandomJson(3)
  const texts = Array.from({ length: 5_000 }, () => random.document())
  for (let i = 0; i < 5_000; i++) texts.push(`[${random.number()},${random.number()}]`)
  const printed = printedByPython(texts)
  const wrong = texts.findIndex((text, i) => canonicalJson(text) !== printed[i])
  t.equal(wrong, -1, `every document agrees${wrong === -1 ? '' : `; but ${texts[wrong]}`}`)
  t.end()
})

function printedByPython(texts: string[]): string[] {
  const program = `
import json, sys
def canonical(text): return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
json.dump([canonical(text) for text in json.load(sys.stdin)], sys.stdout)
`
  const { status, stdout, stderr } = spawnSync('python3', ['-c', program], { input: JSON.stringify(texts), encoding: 'utf8', maxBuffer: 2 ** 28 })
  if (status !== 0) throw new Error(`python3 failed: ${stderr}`)
  return JSON.parse(stdout) as string[]
}
