import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Reproq } from '../../sdk-ts/src/index.js'
import { marked, openFilesOf, soak } from '../../test/helpers/soak.js'
import { BrokerProcess } from '../machine/broker.js'
import { ROOT, temporaryFolder } from '../machine/folders.js'
import { Postgres } from '../machine/postgres.js'

const EVERY = 25
const WAIT_MS = 600_000

/** `npm run bench -- --soak`: so many Python runs in each warm mode, faults among them. Resolves to the exit code: 1 when something is left. */
export async function benchSoak(total: number): Promise<number> {
  const postgres = await Postgres.start()
  let code = 0
  try {
    for (const mode of ['loop', 'zygote']) {
      const faults = await soakMode(postgres, mode, total)
      console.log(`${mode}: ${total} runs, one of ${EVERY} a fault: ${faults.length === 0 ? 'nothing is left' : `\n  ${faults.join('\n  ')}`}`)
      if (faults.length > 0) code = 1
    }
  } finally {
    await postgres.stop()
  }
  return code
}

async function soakMode(postgres: Postgres, mode: string, total: number): Promise<string[]> {
  const database = await postgres.freshDatabase()
  const broker = await BrokerProcess.start(database.url)
  const reproq = new Reproq({ url: broker.url, token: broker.token })
  const temporary = temporaryFolder('soak')
  const mark = `reproq-soak-${process.pid}-${mode}`
  const flags = ['--url', broker.url, '--python', 'python3', '--python-mode', mode, '--allow-tasks', '*', '--env', 'REPROQ_SOAK_MARK', '--concurrency', '2', '--quiet']
  const env = { ...process.env, REPROQ_TOKEN: broker.token, REPROQ_SOAK_MARK: mark, TMPDIR: temporary, PYTHONPATH: join(ROOT, 'executor-shims/python/tests') }
  const worker = spawn(process.execPath, [join(ROOT, 'dist/server/src/cli/main.js'), 'worker', ...flags], { env, stdio: 'ignore' })
  const exited = once(worker, 'exit')
  const pid = worker.pid as number
  try {
    const run = (count: number, every: number) => soak({ reproq, queue: 'default', total: count, every, timeoutMs: WAIT_MS })
    // What a first round opens once stays open.
    const faults = await run(32, 2)
    await settled(mark)
    const before = { files: await openFilesOf(pid), temporary: readdirSync(temporary).length }
    faults.push(...(await run(total, EVERY)))
    faults.push(...(await settled(mark)).map((process) => `process ${process} is left`))
    const files = await openFilesOf(pid)
    // A warm process more or less has four pipes.
    if (files > before.files + 8) faults.push(`${files} open files in the worker, ${before.files} before`)
    if (readdirSync(temporary).length > before.temporary) faults.push(`files are left: ${readdirSync(temporary).join(', ')}`)
    worker.kill('SIGTERM')
    await exited
    await delay(1_000)
    faults.push(...marked(mark).map((process) => `process ${process} outlives the worker`))
    return faults
  } finally {
    worker.kill('SIGKILL')
    await exited
    await reproq.close()
    await broker.stop()
    await database.drop()
    rmSync(temporary, { recursive: true, force: true })
  }
}

/** The worker and two warm processes may be there; the rest after ten seconds. */
async function settled(mark: string): Promise<number[]> {
  for (let look = 0; look < 100 && marked(mark).length > 3; look++) await delay(100)
  return marked(mark).slice(3)
}
