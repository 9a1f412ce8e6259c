import { existsSync, readdirSync } from 'node:fs'
import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { misplaced } from '../helpers/given.js'
import { marked, openFilesOf, soak } from '../helpers/soak.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const linux = existsSync('/proc/self/environ') ? {} : { skip: 'reads /proc' }

// A small one; `npm run bench -- --soak` does the same 10,000 times.
for (const [mode, total, every] of [['loop', 400, 20], ['zygote', 150, 10]] as const) {
  t.test(`${mode}: after ${total} runs through a whole worker, faults among them, no process, file or open file is left`, linux, async (t) => {
    const database = await testDatabase(t)
    const token = await givenToken(database.url, ['admin'])
    const { url } = await brokerProcess(t, database.url)
    const reproq = new Reproq({ url, token })
    const mark = `reproq-soak-${process.pid}-${mode}`
    const temporary = t.testdir()
    const worker = await workerProcess(t, { urls: url, token, name: 'soak', concurrency: 2, tasks: { pythonMode: mode }, env: { REPROQ_TEST_MARK: mark, TMPDIR: temporary } })
    const alone = () => until('the worker is alone with what it keeps warm', () => marked(mark).length <= 3, 15_000)
    // What a first round opens once stays open.
    t.same(await soak({ reproq, queue: 'default', total: 16, every: 2, timeoutMs: 60_000 }), [])
    await alone()
    const [files, left] = [await openFilesOf(worker.pid), readdirSync(temporary)]
    t.same(await soak({ reproq, queue: 'default', total, every, timeoutMs: 60_000 }), [])
    await alone()
    // A warm process more or less has four pipes.
    const after = await openFilesOf(worker.pid)
    t.ok(after <= files + 8, `${after} open files, ${files} before`)
    t.same(readdirSync(temporary).length, left.length, 'no file')
    t.same(await misplaced(database.pool), [])
    worker.kill('SIGTERM')
    await worker.exited
    await until('nothing of it lives', () => marked(mark).length === 0, 5_000)
    t.same(readdirSync(temporary), [])
  })
}
