import { Option } from 'commander'

/** What a setting takes in a config file. In a variable, several texts are separated by commas. */
type Takes = 'text' | 'texts' | 'number'
export interface WorkerSetting {
  env: string
  flags: string
  takes: Takes
  doc: string
}

/** What clients and workers share: which broker, and as whom. */
export const clientSettings = {
  url: { env: 'REPROQ_URL', flags: '--url <urls...>', takes: 'texts', doc: 'the broker, or several of one database (default: the reproq dev of this folder)' },
  token: { env: 'REPROQ_TOKEN', flags: '--token <token>', takes: 'text', doc: 'bearer token; better in the variable, where other users cannot see it' },
} as const satisfies Record<string, WorkerSetting>

/** Settings of `reproq worker` that may also stand in the environment or a config file. Their defaults are in worker.ts. */
export const workerSettings = {
  queues: { env: 'REPROQ_QUEUES', flags: '--queues <names>', takes: 'texts', doc: 'queues, separated by commas' },
  concurrency: { env: 'REPROQ_CONCURRENCY', flags: '--concurrency <n>', takes: 'number', doc: 'runs at the same time' },
  window: { env: 'REPROQ_WINDOW', flags: '--window <n>', takes: 'number', doc: 'runs leased at the same time (default: concurrency, and up to 32 more while runs are short)' },
  tasks: { env: 'REPROQ_TASKS', flags: '--tasks <pattern...>', takes: 'texts', doc: 'modules whose tasks run in this process, such as "tasks/*.ts"' },
  captureConsole: { env: 'REPROQ_CAPTURE_CONSOLE', flags: '--capture-console <on|off>', takes: 'text', doc: 'whether what these write to console is output of their run (default: on)' },
  executors: { env: 'REPROQ_EXECUTORS', flags: '--executors [file]', takes: 'text', doc: 'which program runs which tasks and queues (EXECUTORS.md); without a value: reproq.executors.json' },
  allowTasks: { env: 'REPROQ_ALLOW_TASKS', flags: '--allow-tasks <prefixes>', takes: 'texts', doc: 'what executors may run: prefixes separated by commas, * for all (default: tasks., myapp.tasks.)' },
  name: { env: 'REPROQ_WORKER_NAME', flags: '--name <name>', takes: 'text', doc: 'what this worker is called (default: host name and process id)' },
} as const satisfies Record<string, WorkerSetting>

/** The flag of a setting, with its variable. */
export function optionOf({ flags, doc, env }: WorkerSetting): Option {
  return new Option(flags, doc).env(env)
}

/** One more flag, or the patterns of a variable: a comma inside braces belongs to its pattern. */
export function collectPatterns(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), ...text.split(/,(?![^{}]*\})/).map((pattern) => pattern.trim()).filter((pattern) => pattern !== '')]
}
