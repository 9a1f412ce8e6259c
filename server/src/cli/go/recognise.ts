import { readDevState } from '../dev-state.js'

/** Flags that the Go worker has and `reproq worker` has not. */
const OF_GO_WORKER = /^--?(dsn|config|worker-id|process-role|allowed-task-modules|lease-seconds|heartbeat-seconds|reclaim-interval-seconds|priority-aging-factor|logs-dir|metrics-[a-z-]+)(=|$)/
const DSN = /^--?dsn(=|$)/
const ID = /^--?id(=|$)/

/**
 * Whether the words are a command of Reproq's Go worker, which this program stands in for as REPROQ_WORKER_BIN. The names that
 * both have are told apart by flags: with --dsn, or another one that only the Go worker has, its form is meant. `triage` without any
 * is the Go worker's when a database is known and no broker.
 */
export function isOfGoWorker([command, ...rest]: readonly string[], env: NodeJS.ProcessEnv = process.env): boolean {
  switch (command) {
    case 'beat':
    case 'replay':
    case 'cancel':
    case 'limit':
      return true
    case 'worker':
      return rest.some((word) => OF_GO_WORKER.test(word)) || (rest.length === 0 && Boolean(env.REPROQ_CONFIG))
    case 'prune':
      return rest[0] === 'expired'
    case 'triage':
      if (rest.some((word) => DSN.test(word) || ID.test(word))) return true
      return Boolean(env.REPROQ_DATABASE_URL || env.DATABASE_URL) && !env.REPROQ_URL && !rest.some((word) => /^--(url|help|output)|^-[oh]$/.test(word)) && readDevState() === undefined
    default:
      return false
  }
}
