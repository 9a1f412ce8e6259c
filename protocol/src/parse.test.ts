import { readFileSync } from 'node:fs'
import t from 'tap'
import { brokerFrames, workerFrames } from './frames.js'
import { parseBrokerFrame, parseWorkerFrame } from './parse.js'

type Cases = Record<string, { valid: { t: string }[]; invalid: { names: string; frame: { t: string } }[] }>
interface Vectors {
  worker: Cases
  broker: Cases
  unreadable: { text: string; code: string; fatal: boolean }[]
}
const vectors = JSON.parse(readFileSync(new URL('../vectors/frames.json', import.meta.url), 'utf8')) as Vectors

const directions = [
  { direction: 'worker', cases: vectors.worker, parse: parseWorkerFrame, frames: workerFrames },
  { direction: 'broker', cases: vectors.broker, parse: parseBrokerFrame, frames: brokerFrames },
]

for (const { direction, cases, parse, frames } of directions) {
  t.strictSame(Object.keys(cases), Object.keys(frames), `every ${direction} frame has vectors`)

  for (const [name, { valid, invalid }] of Object.entries(cases)) {
    t.test(`${direction} frame ${name}: a valid one is read as it is, with the fields nobody knows`, (t) => {
      t.ok(valid.length > 0)
      for (const frame of valid) t.strictSame(parse(JSON.stringify(frame)), { ok: true, frame })
      t.end()
    })

    t.test(`${direction} frame ${name}: an invalid one is refused, and the message names the field`, (t) => {
      t.ok(invalid.length > 0)
      for (const { names, frame } of invalid) {
        const parsed = parse(JSON.stringify(frame))
        t.match(parsed, { ok: false, code: 'invalid_frame', fatal: true }, names)
        if (!parsed.ok) t.ok(parsed.message.startsWith(`Frame "${name}"`) && parsed.message.includes(names), parsed.message)
      }
      t.end()
    })
  }

  t.test(`${direction}: text that is no frame is refused by its code`, (t) => {
    for (const { text, code, fatal } of vectors.unreadable) t.match(parse(text), { ok: false, code, fatal }, JSON.stringify(text))
    t.end()
  })

  t.test(`${direction}: a frame of the other direction is unknown`, (t) => {
    const other = direction === 'worker' ? vectors.broker.hb_ack : vectors.worker.hb
    t.match(parse(JSON.stringify(other?.valid[0])), { ok: false, code: 'unknown_frame', fatal: false })
    t.end()
  })
}

t.test('a payload passes through as it was written', (t) => {
  const output = '{"big": 12345678901234567890, "float":1.0,\n"tiny":1E-7}'
  const parsed = parseWorkerFrame(JSON.stringify({ t: 'result', items: [{ l: 1, outcome: 'ok', output }] }))
  t.match(parsed, { ok: true, frame: { items: [{ output }] } })
  t.end()
})

t.test('a long unknown name is not repeated at full length', (t) => {
  const parsed = parseWorkerFrame(JSON.stringify({ t: 'x'.repeat(100_000) }))
  t.ok(!parsed.ok && parsed.message.length < 200)
  t.end()
})
