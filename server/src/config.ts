import { BrokerError } from './errors.js'

/**
 * Every setting of the broker: variable, default, sentence. Nothing else holds a default.
 * A flag of the command line (`--lease-ms`) wins over the variable, the variable over the files of the command line, these over the default.
 */
export const settings = {
  host: { env: 'REPROQ_HOST', default: '127.0.0.1', doc: 'Address to listen on. Beyond loopback at least one token must exist.' },
  port: { env: 'REPROQ_PORT', default: 4700, doc: 'Port to listen on; 0 takes a free one.' },
  databaseUrl: { env: 'REPROQ_DATABASE_URL', default: '', doc: 'Postgres 14 to 18. DATABASE_URL is read when this is unset.' },
  poolSize: { env: 'REPROQ_POOL_SIZE', default: 10, doc: 'Database connections, besides one that listens and those that read.' },
  readPoolSize: { env: 'REPROQ_READ_POOL_SIZE', default: 3, doc: 'Database connections for reading runs: apart, so that a slow list holds up no heartbeat.' },
  heartbeatMs: { env: 'REPROQ_HEARTBEAT_MS', default: 10_000, doc: 'How often a worker renews its session.' },
  leaseMs: { env: 'REPROQ_LEASE_MS', default: 60_000, doc: 'A silent worker keeps its runs this long.' },
  safetyMs: { env: 'REPROQ_SAFETY_MS', default: 10_000, doc: 'A worker that cannot renew stops this much before its lease ends.' },
  reconnectMs: { env: 'REPROQ_RECONNECT_MS', default: 15_000, doc: 'A worker whose socket dropped keeps its runs this long.' },
  helloMs: { env: 'REPROQ_HELLO_MS', default: 5_000, doc: 'A new connection says hello within this time.' },
  reapMs: { env: 'REPROQ_REAP_MS', default: 2_000, doc: 'Wait before an expired session that could not be ended yet is looked at again; the first look is timed to its expiry.' },
  lookMs: { env: 'REPROQ_LOOK_MS', default: 10_000, doc: 'How often to look for ready runs without having been told; covers a lost notification.' },
  scheduler: { env: 'REPROQ_SCHEDULER', default: 'on', doc: 'off: this broker fires no schedules, and leaves them to others.' },
  schedulerLeaseMs: { env: 'REPROQ_SCHEDULER_LEASE_MS', default: 15_000, doc: 'A broker that fires schedules and is not heard of for this long is followed by another.' },
  drainMs: { env: 'REPROQ_DRAIN_MS', default: 10_000, doc: 'On shutdown, how long results are still taken.' },
  cancelGraceMs: { env: 'REPROQ_CANCEL_GRACE_MS', default: 5_000, doc: 'From the soft stop of running code to the hard one.' },
  maxTimeoutMs: { env: 'REPROQ_MAX_TIMEOUT_MS', default: 86_400_000, doc: 'How long an attempt may run, from its lease, when its code extends its own limit (a day: code that is stuck in a loop and extends for ever is found out the next day). A longer timeout that a run was made with stands.' },
  retryBaseMs: { env: 'REPROQ_RETRY_BASE_MS', default: 30_000, doc: 'Wait before the second attempt; doubles with each further one.' },
  retryCapMs: { env: 'REPROQ_RETRY_CAP_MS', default: 3_600_000, doc: 'The longest wait between attempts.' },
  retryJitter: { env: 'REPROQ_RETRY_JITTER', default: 0, doc: 'Random share (0 to 1) by which a wait may grow; spreads retries after an outage.' },
  deduplicate: { env: 'REPROQ_DEDUPLICATE', default: 'off', doc: "on: runs that do not say are deduplicated (Reproq's rule). Each then costs the slower enqueue." },
  payloadBytes: { env: 'REPROQ_PAYLOAD_BYTES', default: 1_048_576, doc: "Largest payload of a run (Reproq's limit)." },
  outputBytes: { env: 'REPROQ_OUTPUT_BYTES', default: 1_048_576, doc: "Largest result of a run (Reproq's limit)." },
  parentsBytes: { env: 'REPROQ_PARENTS_BYTES', default: 1_048_576, doc: 'How much a run of a workflow is given of what the runs before it returned; more than that is an error there, where it is asked for.' },
  workflowNodes: { env: 'REPROQ_WORKFLOW_NODES', default: 10_000, doc: 'Most runs of one workflow.' },
  bodyBytes: { env: 'REPROQ_BODY_BYTES', default: 16_777_216, doc: 'Largest REST body.' },
  publicUrl: { env: 'REPROQ_PUBLIC_URL', default: '', doc: 'Base URL under which this broker is reached; goes into logs_uri. Unset: the address it listens on, which others may not reach.' },
  logLinks: { env: 'REPROQ_LOG_LINKS', default: 'on', doc: 'on: the link in logs_uri opens in a browser, for whoever has it; it is signed, and shows the output of its run and nothing else. off: output takes a token, and signed links open nothing.' },
  logBytes: { env: 'REPROQ_LOG_BYTES', default: 1_048_576, doc: 'Most output kept of each stream (stdout, stderr, log) of an attempt; 0 keeps none.' },
  checkpointBytes: { env: 'REPROQ_CHECKPOINT_BYTES', default: 262_144, doc: 'Largest checkpoint of a run, as JSON text; at most an eighth of REPROQ_FRAME_BYTES counts.' },
  quarantineCrashes: { env: 'REPROQ_QUARANTINE_CRASHES', default: 3, doc: 'A run that took its worker or executor with it this often is not run again, whatever attempts are left; 0 runs it all the same.' },
  frameBytes: { env: 'REPROQ_FRAME_BYTES', default: 4_194_304, doc: 'Largest WebSocket frame.' },
  maxWindow: { env: 'REPROQ_MAX_WINDOW', default: 10_000, doc: 'Most leases one session may hold.' },
  maxLinks: { env: 'REPROQ_MAX_LINKS', default: 10_000, doc: 'Most workers connected to one broker.' },
  keepSuccessfulHours: { env: 'REPROQ_KEEP_SUCCESSFUL_HOURS', default: 0, doc: 'Runs that succeeded are deleted this long after their end; 0 keeps them for ever.' },
  keepFailedHours: { env: 'REPROQ_KEEP_FAILED_HOURS', default: 0, doc: 'The same for runs that failed.' },
  keepCancelledHours: { env: 'REPROQ_KEEP_CANCELLED_HOURS', default: 0, doc: 'The same for runs that were cancelled.' },
  keepExpiredHours: { env: 'REPROQ_KEEP_EXPIRED_HOURS', default: 0, doc: 'Runs that are over are deleted this long after their expires_at, whatever else is kept; 0 keeps them.' },
  keepWorkersHours: { env: 'REPROQ_KEEP_WORKERS_HOURS', default: 24, doc: 'A worker without a session that was last seen this long ago is no longer listed.' },
  logLevel: { env: 'REPROQ_LOG_LEVEL', default: 'info', doc: 'trace, debug, info, warn, error or silent.' },
} as const

type Widen<T> = T extends number ? number : T extends string ? string : T
export type Config = { readonly [Key in keyof typeof settings]: Widen<(typeof settings)[Key]['default']> }
export type Overrides = { [Key in keyof Config]?: Config[Key] | undefined }

/** The variables of a setting; the first that is there counts. */
export function variablesOf(key: keyof Config): readonly string[] {
  return key === 'databaseUrl' ? [settings.databaseUrl.env, 'DATABASE_URL'] : [settings[key].env]
}

/** Flag or test override > environment > default. Throws INVALID_SETTING naming the variable, as `nameOf` has it, and its text. */
export function loadConfig(overrides: Overrides = {}, env: Record<string, string | undefined> = process.env, nameOf = (variable: string) => variable): Config {
  const entries = Object.entries(settings).map(([key, setting]) => {
    const given = overrides[key as keyof Config]
    if (given !== undefined) return [key, given]
    const text = variablesOf(key as keyof Config).map((variable) => env[variable]).find((found) => found !== undefined)
    return [key, text === undefined || text === '' ? setting.default : read(nameOf(setting.env), text, setting.default)]
  })
  const config = Object.freeze(Object.fromEntries(entries)) as Config
  const [wrong] = faults(config, (key) => (overrides[key] === undefined ? nameOf(settings[key].env) : settings[key].env))
  if (wrong !== undefined) throw new BrokerError('INVALID_SETTING', wrong)
  return config
}

type NumberKey = { [Key in keyof Config]: Config[Key] extends number ? Key : never }[keyof Config]

/** Node fires a longer timer at once. */
const LONGEST_MS = 2_147_483_647
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']
/** Zero would be a loop without a pause, or a broker that can do nothing. */
const AT_LEAST_ONE: NumberKey[] = ['poolSize', 'readPoolSize', 'heartbeatMs', 'leaseMs', 'maxTimeoutMs', 'reapMs', 'lookMs', 'schedulerLeaseMs', 'helloMs', 'payloadBytes', 'outputBytes', 'parentsBytes', 'workflowNodes', 'bodyBytes', 'checkpointBytes', 'frameBytes', 'maxWindow', 'maxLinks']
/** The first must not be above the second. */
const ORDERED: [NumberKey, NumberKey, string][] = [
  ['heartbeatMs', 'leaseMs', 'a worker would lose its runs before it renews them'],
  ['payloadBytes', 'bodyBytes', 'the largest payload would not fit into a request'],
  ['payloadBytes', 'frameBytes', 'the largest payload would not fit into a frame'],
]

/** What is wrong with the settings, alone or together, as sentences with the values. */
function* faults(config: Config, nameOf: (key: keyof Config) => string): Generator<string> {
  const say = (key: keyof Config) => `${nameOf(key)} is ${config[key]}`
  for (const [key, value] of Object.entries(config) as [keyof Config, number | string][]) {
    if (typeof value === 'string') continue
    if (key !== 'retryJitter' && !Number.isInteger(value)) yield `${say(key)}; it takes a whole number`
    if (key.endsWith('Ms') && value > LONGEST_MS) yield `${say(key)}; it takes at most ${LONGEST_MS}`
  }
  for (const key of AT_LEAST_ONE) if (config[key] < 1) yield `${say(key)}; it takes at least 1`
  if (config.port > 65_535) yield `${say('port')}; it takes at most 65535`
  if (config.retryJitter > 1) yield `${say('retryJitter')}; it takes at most 1`
  if (!LEVELS.includes(config.logLevel)) yield `${say('logLevel')}; it takes one of ${LEVELS.join(', ')}`
  for (const key of ['deduplicate', 'scheduler', 'logLinks'] as const) if (!['on', 'off'].includes(config[key])) yield `${say(key)}; it takes on or off`
  for (const [low, high, because] of ORDERED) if (config[low] > config[high]) yield `${say(low)} and ${say(high)}: ${because}`
}

function read(variable: string, text: string, fallback: number | string): number | string {
  if (typeof fallback === 'string') return text
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new BrokerError('INVALID_SETTING', `${variable} is "${text}"; it takes a number of at least 0`)
  return value
}
