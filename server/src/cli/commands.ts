import type { Command } from 'commander'

export interface CommandEntry {
  name: string
  summary: string
  load: () => Promise<(program: Command) => void>
  /** For programs: not listed. */
  hidden?: boolean
}

/** Each command's code is loaded when it is called: `reproq --version` should not read a database driver. */
export const commands: CommandEntry[] = [
  { name: 'dev', summary: 'everything on this machine, PostgreSQL included', load: async () => (await import('./dev.js')).registerDev },
  { name: 'demo', summary: 'all of it at work, on a database that is gone afterwards', load: async () => (await import('./demo.js')).registerDemo },
  { name: 'init', summary: 'a first task in the project of this folder', load: async () => (await import('./init.js')).registerInit },
  { name: 'broker', summary: 'start the broker', load: async () => (await import('./broker.js')).registerBroker },
  { name: 'worker', summary: 'start a worker', load: async () => (await import('./worker.js')).registerWorker },
  { name: 'migrate', summary: 'bring the database to the schema of this version', load: async () => (await import('./migrate.js')).registerMigrate },
  { name: 'tokens', summary: 'create, list and revoke bearer tokens', load: async () => (await import('./tokens.js')).registerTokens },
  { name: 'config', summary: 'settings, and where each value comes from', load: async () => (await import('./config.js')).registerConfig },
  { name: 'doctor', summary: 'what is wrong here, and what to do', load: async () => (await import('./doctor.js')).registerDoctor },
  { name: 'run', summary: 'enqueue a run, wait, print its result', load: async () => (await import('./run.js')).registerRun },
  { name: 'enqueue', summary: 'enqueue a run, print its id', load: async () => (await import('./enqueue.js')).registerEnqueue },
  { name: 'runs', summary: 'list, get, logs, wait, cancel, retry, replay, purge', load: async () => (await import('./runs.js')).registerRuns },
  { name: 'triage', summary: 'dead letters: list, inspect, retry, replay', load: async () => (await import('./triage.js')).registerTriage },
  { name: 'queues', summary: 'list, pause, resume, clear', load: async () => (await import('./queues.js')).registerQueues },
  { name: 'tasks', summary: 'list, get', load: async () => (await import('./tasks.js')).registerTasks },
  { name: 'limits', summary: 'rate limits of tasks, queues and keys', load: async () => (await import('./limits.js')).registerLimits },
  { name: 'schedules', summary: 'list, put, trigger, pause, sync, next; pg_cron', load: async () => (await import('./schedules.js')).registerSchedules },
  { name: 'workflows', summary: 'list, get, cancel', load: async () => (await import('./workflows.js')).registerWorkflows },
  { name: 'workers', summary: 'list, drain, stop', load: async () => (await import('./workers.js')).registerWorkers },
  { name: 'top', summary: 'queues, workers and runs, live', load: async () => (await import('./top.js')).registerTop },
  { name: 'operations', summary: 'work on many runs: list, get, stop', load: async () => (await import('./operations.js')).registerOperations },
  { name: 'prune', summary: 'delete old runs', load: async () => (await import('./prune.js')).registerPrune },
  { name: 'completion', summary: 'what a shell needs to complete commands and names', load: async () => (await import('./completion.js')).registerCompletion },
  { name: '__complete', summary: 'asked by the shell', load: async () => (await import('./completion.js')).registerComplete(commands), hidden: true },
]
