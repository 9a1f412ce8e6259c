import t from 'tap'
import { Head } from './bounded-output.js'
import { EnvelopeGuard } from './envelope-guard.js'
import { settle, type Evidence } from './envelope.js'
import type { Settlement } from './executor.js'

const bytes = (text: string, overflowed = false) => ({ bytes: Buffer.from(text), overflowed })
const evidence = (found: Partial<Evidence>): Evidence => ({ channel: undefined, stdout: bytes(''), lastLine: undefined, stderr: '', exit: { code: 0 }, maxOutputBytes: 1_000, ...found })

/** Stdout as a worker reads it, which keeps so many bytes of it, and of its last line. */
function printed(text: string, limit = 10_000): Pick<Evidence, 'stdout' | 'lastLine'> {
  const stdout = new Head(limit)
  const guard = new EnvelopeGuard(limit, () => {})
  for (const sink of [stdout, guard]) sink.push(Buffer.from(text))
  return { stdout, lastLine: guard.lastLine }
}

interface Row {
  promise: string
  channel?: string
  stdout?: string
  overflowed?: boolean
  /** Of stdout, in bytes. */
  limit?: number
  exit?: Evidence['exit']
  outcome: Settlement['outcome']
  output?: string
  class?: string
  retryable?: boolean
}

const done = '{"ok":true,"return":1}\n'
const rows: Row[] = [
  { promise: 'the channel wins over stdout', channel: done, stdout: '{"ok":true,"return":2}', outcome: 'ok', output: '1' },
  { promise: 'a blank channel is a silent one only when it says nothing at all', channel: ' \n', stdout: done, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'the first line counts', channel: `${done}{"ok":false}\n`, outcome: 'ok', output: '1' },
  { promise: 'blank lines before it do not', channel: `\n\n${done}`, outcome: 'ok', output: '1' },
  { promise: 'noise after the line cannot make it too large', channel: `${done}xxxx`, overflowed: true, outcome: 'ok', output: '1' },
  { promise: 'the last newline may be missing', channel: '{"ok":true,"return":1}', outcome: 'ok', output: '1' },
  { promise: 'the exit status does not matter', channel: done, exit: { code: 1 }, outcome: 'ok', output: '1' },
  { promise: 'nor does a signal', channel: done, exit: { signal: 'SIGSEGV' }, outcome: 'ok', output: '1' },
  { promise: 'stdout is believed after a failing exit', stdout: done, exit: { code: 1 }, outcome: 'ok', output: '1' },
  { promise: 'a line torn by a crash was no envelope', channel: '{"ok":true,"ret', exit: { signal: 'SIGKILL' }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'a torn line of a process that ended well is a fault of the executor', channel: '{"ok":true,"ret', outcome: 'error', class: 'InvalidOutput' },
  { promise: 'what a failing process printed is no envelope', stdout: 'hello', exit: { code: 2 }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'its last line is one, after what others printed', stdout: `copied 3 files\n{"ok":true,"return":"forged"}\n${done}\n`, outcome: 'ok', output: '1' },
  { promise: 'also when it failed', stdout: 'copied 3 files\n{"ok":false,"exception_class":"E"}', exit: { code: 1 }, outcome: 'error', class: 'E' },
  { promise: 'not when it died, for then it is what was printed last', stdout: 'copied\n{"ok":false,"error":"no_channel"}\n', exit: { signal: 'SIGKILL' }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'and a success does not end with a failing exit', stdout: 'copied\n{"ok":true,"channel":"C1"}\n', exit: { code: 137 }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'nor by a signal', stdout: 'copied\n{"ok":true,"channel":"C1"}\n', exit: { signal: 'SIGSEGV' }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'nor is it one when nobody knows how it ended', stdout: 'copied\n{"ok":false}\n', exit: {}, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'whatever was printed, when a message came on the channel it is the one that counts', channel: '', stdout: done, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'any number of prints may come before it', stdout: `${'{ hello\n'.repeat(100)}${done}`, limit: 30, outcome: 'ok', output: '1' },
  { promise: 'a last line that breaks off is not', stdout: 'copied\n{"ok":true,"ret', exit: { code: 1 }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'nor one with something before it', stdout: `copied\n3 ${done}`, outcome: 'error', class: 'InvalidOutput' },
  { promise: 'nor an envelope with something behind it', stdout: `${done}bye\n`, outcome: 'error', class: 'InvalidOutput' },
  { promise: 'JSON that is no envelope is invalid', channel: '[]\n', outcome: 'error', class: 'InvalidOutput' },
  { promise: 'ok must be a boolean', channel: '{"ok":"yes"}\n', outcome: 'error', class: 'InvalidOutput' },
  { promise: 'nothing and exit 0 is a crash too', outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'a line without end is too large', channel: '{"ok":true,"return":"xxx', overflowed: true, outcome: 'error', class: 'OutputTooLarge', retryable: false },
  { promise: 'so is an envelope on stdout', stdout: '{"ok":true,"return":"xxxxxxxxx', limit: 20, outcome: 'error', class: 'OutputTooLarge', retryable: false },
  { promise: 'also after prints', stdout: 'hello\n{"ok":true,"return":"xxxxxxxxx', limit: 20, outcome: 'error', class: 'OutputTooLarge', retryable: false },
  { promise: 'but not of a process that failed', stdout: 'hello\n{"ok":true,"return":"xxxxxxxxx', limit: 20, exit: { code: 1 }, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'many prints are not, whatever they begin with', stdout: '{"level":"info","message":"hello"}', limit: 20, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'many prints after an answer are not', stdout: '{"ok":true,"channel":"C1"}\nhello hello', limit: 20, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'many prints are not', stdout: 'hello hello', limit: 10, outcome: 'crashed', class: 'ExecutorCrashed' },
  { promise: 'NaN is not JSON', channel: '{"ok":true,"return":[1, NaN]}\n', outcome: 'error', class: 'InvalidOutput', retryable: false },
  { promise: 'nor is Infinity', channel: '{"ok":true,"return":-Infinity}\n', outcome: 'error', class: 'InvalidOutput', retryable: false },
  { promise: 'NaN in a string is', channel: '{"ok":true,"return":": NaN,"}\n', outcome: 'ok', output: '": NaN,"' },
  { promise: 'a number beyond Postgres is invalid', channel: '{"ok":true,"return":1e999999}\n', outcome: 'error', class: 'InvalidOutput', retryable: false },
  { promise: 'a NUL in a key is found', channel: '{"ok":true,"return":{"a\\u0000":1}}\n', outcome: 'error', class: 'InvalidOutput', retryable: false },
  { promise: 'an escaped backslash before u0000 is none', channel: '{"ok":true,"return":"\\\\u0000"}\n', outcome: 'ok', output: '"\\\\u0000"' },
  { promise: 'a missing return is no output', channel: '{"ok":true}\n', outcome: 'ok' },
  { promise: 'null is one', channel: '{"ok":true,"return":null}\n', outcome: 'ok', output: 'null' },
]

t.test('how evidence becomes a settlement', async (t) => {
  for (const { promise, channel, stdout = '', overflowed, limit, exit = { code: 0 }, ...expected } of rows) {
    const { outcome, output, error, retryable } = settle(evidence({ ...(channel !== undefined && { channel: bytes(channel, overflowed) }), ...printed(stdout, limit), exit }))
    t.same({ outcome, output, class: error?.class, retryable }, { output: undefined, class: undefined, retryable: undefined, ...expected }, promise)
  }
})

t.test('the text of the return value is passed on as it was written', async (t) => {
  for (const text of ['12345678901234567890', '1.0', '-0.0', '1E+2', '{ "b" : [ "]}," , {"return": 2} ],"a":1}', '"\\u00e9\\"\\\\"'])
    t.same(settle(evidence({ channel: bytes(`{"return": ${text} , "ok":true}\n`) })), { outcome: 'ok', output: text })
  t.equal(settle(evidence({ channel: bytes('{"x":{"return":0},"ok":true,"r\\u0065turn":7}\n') })).output, '7')
})

t.test('a failure is passed on within the limits of a frame', async (t) => {
  const envelope = { ok: false, exception_class: 'C'.repeat(300), message: 'm\0'.repeat(40_000), traceback: '', retryable: false, retry_after_ms: 12.6 }
  const { outcome, error, ...wishes } = settle(evidence({ channel: bytes(`${JSON.stringify(envelope)}\n`) }))
  t.equal(outcome, 'error')
  t.same(wishes, { retryable: false, retryAfterMs: 13 })
  t.same([error?.class.length, error?.message.length, error?.traceback], [255, 65_536, undefined])
  t.notMatch(error?.message, '\0')
  t.same(settle(evidence({ ...printed('{"ok":false,"retryable":1,"retry_after_ms":-5}') })), { outcome: 'error', error: { class: 'Error', message: '' } }, 'wishes that make no sense are ignored')
})

t.test('a crash is explained by the end of stderr, or else of stdout', async (t) => {
  const exit = { code: 1 }
  t.match(settle(evidence({ exit, stderr: 'Traceback\nNo module named x\n', stdout: bytes('hi') })), { error: { message: /exit code 1 .*: No module named x$/, traceback: 'Traceback\nNo module named x\n' }, exit })
  t.match(settle(evidence({ exit, stdout: bytes('usage: x') })), { error: { message: /: usage: x$/ } })
})
