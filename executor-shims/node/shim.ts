// Runs TypeScript and JavaScript tasks in processes of their own, as executor-shims/CONTRACT.md describes.
import { parseArgs } from 'node:util'
import { InProcessExecutor } from '../worker/src/in-process.js'
import { loadTasks } from '../worker/src/task-modules.js'
import { Channel } from './channel.js'
import { Loop } from './loop.js'
import { runOnce } from './one-shot.js'

const HELP = `Usage: node shim.js <task modules…> --loop [--concurrent]
       node shim.js <task modules…> --payload-stdin | --payload-file PATH [--result-id ID] [--attempt N]

A Reproq worker starts this program; you rarely do. It answers on the descriptor in REPROQ_RESULT_FD.
`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  strict: false,
  options: {
    loop: { type: 'boolean' },
    concurrent: { type: 'boolean' },
    'payload-stdin': { type: 'boolean' },
    'payload-file': { type: 'string' },
    'result-id': { type: 'string' },
    attempt: { type: 'string' },
  },
})
const fd = Number(process.env.REPROQ_RESULT_FD)
if (!Number.isInteger(fd) || fd <= 2 || positionals.length === 0 || !(values.loop || values['payload-stdin'] || values['payload-file'])) {
  process.stderr.write(HELP)
  process.exit(2)
}
// Removed, so that a program a task starts does not take the channel for its own.
delete process.env.REPROQ_RESULT_FD
try {
  // Nobody waits for the results any more, and nobody would stop the tasks.
  const channel = new Channel(fd, () => process.exit(1))
  // What code of a task prints, also as it is loaded, is never to be taken for the answer.
  if (!values.loop) channel.write('{"t":"started"}')
  // The worker reads what this process prints.
  const executor = new InProcessExecutor(await loadTasks(positionals), { captureConsole: false })
  if (values.loop) new Loop(executor, channel).start(values.concurrent === true)
  else process.exit(await runOnce(executor, channel, values as Parameters<typeof runOnce>[2]))
} catch (error) {
  // The last line is what the worker shows.
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}
