import { remoteTask, type Reproq, type RunHandle } from 'reproq'
import { flaky, hello, sum } from './tasks/hello.js'

const add = remoteTask<{ args: [number, number] }, number>('examples.python_tasks.add')
const countWords = remoteTask<{ args: [string]; kwargs?: { most?: number } }, Record<string, number>>('examples.python_tasks.count_words')

/** What `npm start` enqueues: one run of each kind. */
export async function enqueueExamples(reproq: Reproq, languages: { python: boolean }): Promise<RunHandle[]> {
  const typescript = [
    await reproq.enqueue(hello, { name: 'Ada' }),
    await reproq.enqueue(sum, { numbers: [1, 2, 3.5] }),
    await reproq.enqueue(flaky),
    await reproq.enqueue(hello, { name: 'later' }, { delay: '1s' }),
  ]
  if (!languages.python) return typescript
  return [
    ...typescript,
    await reproq.enqueue(add, { args: [2, 40] }),
    await reproq.enqueue(countWords, { args: ['the cat and the dog and the bird'], kwargs: { most: 2 } }),
  ]
}
