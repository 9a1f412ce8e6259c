import type { Check } from './check.js'
import { attemptOf, specOf } from './one-shot-checks.js'
import type { Subject } from './subject.js'
import { within } from './within.js'
import type { ZygoteHost } from './zygote-host.js'

const full = { level: 'full', strength: 'must' } as const

export const zygoteChecks: readonly Check[] = [
  { id: 'RQ-ZYG-001', says: 'many runs go on at the same time', ...full, tasks: ['wait'], run: (subject) => withZygote(subject, manyAtOnce) },
  { id: 'RQ-ZYG-005', says: 'the end of stdin ends it and what it has forked', ...full, tasks: ['ignore_term'], run: (subject) => withZygote(subject, endsAll) },
]

async function withZygote(subject: Subject, use: (zygote: ZygoteHost) => Promise<void>): Promise<void> {
  const zygote = subject.zygote()
  try {
    await use(zygote)
  } finally {
    zygote.end()
  }
}

async function manyAtOnce(zygote: ZygoteHost): Promise<void> {
  const processes = await Promise.all(Array.from({ length: 10 }, () => zygote.fork(attemptOf(specOf('wait')))))
  for (const { output } of processes) await within(output.said('waiting'), 'The task did not say "waiting"')
  for (const process of processes) process.signal('SIGTERM')
  for (const process of processes) await within(process.ended, 'It did not end')
}

async function endsAll(zygote: ZygoteHost): Promise<void> {
  const process = await zygote.fork(attemptOf(specOf('ignore_term')))
  await within(process.output.said('waiting'), 'The task did not say "waiting"')
  zygote.end()
  await within(process.closed, 'The forked process did not end')
}
