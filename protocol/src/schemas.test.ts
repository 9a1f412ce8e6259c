import { readFileSync, readdirSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { CAPABILITIES, CLOSE_CODES, ERROR_CODES, REFUSAL_CODES, RELEASE_REASONS, SUBPROTOCOL } from './codes.js'
import { OUTCOMES, brokerFrames, workerFrames } from './frames.js'
import { schemaFiles } from './schemas.js'

// Seen from dist/protocol/src.
const repository = new URL('../../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, repository), 'utf8')

t.test('the committed JSON Schemas are what the code says (after a change: node scripts/schemas.mjs)', (t) => {
  const files = schemaFiles()
  t.strictSame(readdirSync(new URL('protocol/schemas', repository)).sort(), Object.keys(files).sort())
  for (const [name, text] of Object.entries(files)) t.ok(read(`protocol/schemas/${name}`) === text, name)
  t.end()
})

interface Case {
  valid: object[]
  invalid: { names: string; frame: object }[]
}
const frameVectors = JSON.parse(read('protocol/vectors/frames.json')) as Record<'worker' | 'broker', Record<string, Case>>

t.test('the JSON Schemas, read by somebody else, accept the valid frames and refuse the invalid ones', (t) => {
  for (const direction of ['worker', 'broker'] as const) {
    const validate = new Ajv2020().compile(JSON.parse(read(`protocol/schemas/${direction}-frames.json`)) as object)
    for (const [name, { valid, invalid }] of Object.entries(frameVectors[direction])) {
      for (const frame of valid) t.ok(validate(frame), `${name} valid`)
      for (const { names, frame } of invalid) t.notOk(validate(frame), `${name} invalid: ${names}`)
    }
  }
  t.end()
})

t.test('all documents load side by side: no two schemas share an id', (t) => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  for (const text of Object.values(schemaFiles())) t.doesNotThrow(() => ajv.addSchema(JSON.parse(text) as object))
  t.end()
})

const specification = read('protocol/PROTOCOL.md')

/** The cells of each row of a table whose first cell is code. */
function rows(text: string): string[][] {
  return [...text.matchAll(/^ *\| `?([\w]+)`? \|(.*)\|$/gm)].map(([, first, rest]) => [first as string, ...(rest as string).split('|').map((cell) => cell.trim())])
}

/** The text from a heading to the next one. */
function section(heading: string): string {
  const start = specification.indexOf(`\n${heading}`) + 1
  const end = specification.indexOf('\n#', start)
  return specification.slice(start, end === -1 ? undefined : end)
}

const firstCells = (text: string) => rows(text).map(([first]) => first)

t.test('PROTOCOL.md has every frame, in its direction, with each of its fields', (t) => {
  for (const [heading, frames] of [['### Worker → broker', workerFrames], ['### Broker → worker', brokerFrames]] as const) {
    const documented = rows(section(heading))
    t.strictSame(documented.map(([name]) => name).filter((name) => name !== 't'), Object.keys(frames), heading)
    for (const [name, schema] of Object.entries(frames)) {
      const fields = documented.find(([first]) => first === name)?.[1] ?? ''
      for (const field of Object.keys(schema.properties)) if (field !== 't') t.match(fields, new RegExp(`\\b${field}\\b`), `${name}.${field}`)
    }
  }
  t.end()
})

t.test('PROTOCOL.md has every close code, with what to do next', (t) => {
  const documented = rows(section('## 13.')).filter(([code]) => /^\d{4}$/.test(code as string))
  t.strictSame(
    documented.map(([code, name, next]) => [Number(code), name?.replaceAll('`', ''), next?.match(/^\w+/)?.[0]]).sort(),
    Object.entries(CLOSE_CODES).map(([name, { code, reconnect }]) => [code, name, reconnect]).sort(),
  )
  t.end()
})

t.test('PROTOCOL.md has every word a field can hold', (t) => {
  t.match(specification, `# ${SUBPROTOCOL}`)
  const errors = firstCells(section('## 13.'))
  const results = firstCells(section('## 8.'))
  t.strictSame(ERROR_CODES.filter((code) => !errors.includes(code)), [], 'error codes')
  t.strictSame(REFUSAL_CODES.filter((code) => !results.includes(code)), [], 'refusal codes')
  t.strictSame(OUTCOMES.filter((outcome) => !results.includes(outcome)), [], 'outcomes')
  for (const reason of RELEASE_REASONS) t.match(section('## 6.'), `\`${reason}\``)
  for (const capability of CAPABILITIES) t.match(section('## 5.'), `\`${capability}\``)
  t.end()
})

t.test('PROTOCOL.md: the table of frames and phases is the one in the vectors', (t) => {
  const { phases } = JSON.parse(read('protocol/vectors/phases.json')) as { phases: Record<string, string[]> }
  const [, ...header] = /^ *\| Frame \|(.*)\|$/m.exec(specification)?.[1]?.split('|').map((cell) => cell.trim()) ?? []
  t.strictSame([...Object.keys(phases)].slice(1, 5), header)
  for (const [name, ...cells] of rows(section('## 3.')).filter(([first]) => (first as string) in workerFrames)) {
    const legal = Object.keys(phases).filter((_, i) => cells[i]?.startsWith('legal'))
    t.strictSame(legal, Object.keys(phases).filter((phase) => phases[phase]?.includes(name as string)), name as string)
  }
  t.end()
})

t.test('PROTOCOL.md: requirement ids are unique and in order, and code refers to ones that exist', (t) => {
  const ids = [...specification.matchAll(/^\* \*\*(RQ-[A-Z]+-\d{3})\*\*/gm)].map(([, id]) => id as string)
  t.equal(new Set(ids).size, ids.length)
  t.strictSame(ids.filter((id, i) => !follows(ids[i - 1], id)), [])
  const mentioned = ['protocol/PROTOCOL.md', 'protocol/src/codes.ts', 'protocol/src/frames.ts', 'server/src/link/phase.ts'].flatMap((path) => read(path).match(/RQ-[A-Z]+-\d{3}/g) ?? [])
  t.strictSame(mentioned.filter((id) => !ids.includes(id)), [])
  t.end()
})

/** The next number of the same subject, or the first of another. */
function follows(before: string | undefined, id: string): boolean {
  const number = Number(id.slice(-3))
  return before?.slice(0, -3) === id.slice(0, -3) ? number === Number(before.slice(-3)) + 1 : number === 1
}
