import t from 'tap'
import { join } from 'node:path'
import { executorOf } from './executor-of.js'
import { readExecutorsFile } from './executors-file.js'

interface Test {
  testdir(files: Record<string, string>): string
}

const file = (t: Test, executors: unknown, name = 'reproq.executors.json') => join(t.testdir({ [name]: typeof executors === 'string' ? executors : JSON.stringify({ executors }) }), name)
const surroundings = { onLog() {}, onOutput() {}, concurrency: 3 }

t.test('the first executor whose tasks and queues match is whose run it is', async (t) => {
  const path = file(t, [
    { name: 'mail', python: 'py', match: { tasks: ['shop.'], queues: ['mail', 'bulk-*'] } },
    { name: 'shop', python: 'py', module: 'reproq_django.executor', match: { tasks: ['shop.tasks.'] }, preload: ['shop.models'] },
    { name: 'ts', node: ['tasks/*.ts'], match: { tasks: ['web.'] } },
    { name: 'rust', mode: 'loop', command: ['./run', '--loop'], match: { tasks: ['*'] } },
  ])
  const executors = readExecutorsFile(path).map((entry) => executorOf(entry, surroundings))
  const serving = (task: string, queue: string) => executors.find(({ executor }) => executor.serves(task, queue))?.executor.name
  t.equal(serving('shop.tasks.pay', 'mail'), 'mail')
  t.equal(serving('shop.tasks.pay', 'bulk-1'), 'mail')
  t.equal(serving('shop.tasks.pay', 'bulk'), 'shop')
  t.equal(serving('shop.other', 'default'), 'rust')
  t.equal(serving('web.page', 'default'), 'ts')
  t.match(executors.map(({ description }) => description), [
    'mail (loop, queues mail bulk-*): py -m reproq_executor --loop',
    'shop (zygote): py -m reproq_executor --zygote --module reproq_django.executor --preload shop.models --try-preload shop.tasks',
    /^ts \(loop\): .*shim\.js tasks\/\*\.ts --loop$/,
    'rust (loop): ./run --loop',
  ])
})

t.test('folders are relative to the file', async (t) => {
  const folder = t.testdir({ inner: {}, 'x.json': JSON.stringify({ executors: [{ name: 'a', command: ['a'] }, { name: 'b', command: ['b'], cwd: 'inner' }] }) })
  t.same(readExecutorsFile(join(folder, 'x.json')).map(({ cwd }) => cwd), [folder, join(folder, 'inner')])
})

t.test('what cannot work is named by its place', async (t) => {
  const faults: [executors: unknown, message: RegExp][] = [
    ['{', /is not JSON/],
    ['[]', /the file must be object/],
    [[], /executors must NOT have fewer than 1/],
    [[{ command: ['x'] }], /executors\[0\] must have required property 'name'/],
    [[{ name: 'a', command: ['x'], mode: 'warm' }], /executors\[0\]\.mode is "warm"; it takes "one-shot", "loop", "zygote"/],
    [[{ name: 'a', command: ['x'], limit: {} }], /executors\[0\] has "limit", which nobody knows/],
    [[{ name: 'a', command: 'x' }], /executors\[0\]\.command must be array/],
    [[{ name: 'a', command: ['x'], match: { tasks: [] } }], /executors\[0\]\.match\.tasks must NOT/],
    [[{ name: 'a' }], /executors\[0\] \(a\): it needs one of command, python and node/],
    [[{ name: 'a', command: ['x'], python: true }], /one of command, python and node/],
    [[{ name: 'a', command: ['x'] }, { name: 'a', command: ['y'] }], /executors\[1\] \(a\): there is another/],
    [[{ name: 'a', command: ['x'], module: 'm' }], /module belongs to python/],
    [[{ name: 'a', node: ['x.ts'], mode: 'zygote' }], /cannot be forked/],
    [[{ name: 'a', python: true, module: 'm', mode: 'loop' }], /m runs one attempt and ends/],
    [[{ name: 'a', python: true, mode: 'zygote', limits: { maxRuns: 5 } }], /limits\.maxRuns belongs to mode loop/],
    [[{ name: 'a', command: ['x'], limits: { processes: 5 } }], /limits\.processes belongs to mode loop/],
    [[{ name: 'a', command: ['x'], cwd: 'nowhere' }], /the folder .*nowhere does not exist/],
  ]
  for (const [executors, message] of faults) t.throws(() => readExecutorsFile(file(t, executors)), { code: 'INVALID_OPTION', message }, String(message))
  t.throws(() => readExecutorsFile('/no/such/file'), { code: 'INVALID_OPTION', message: /cannot be read/ })
})
