/**
 * Every error the broker tells a person or a client, in one place: code, HTTP status, sentence, fix.
 * The test in test/house.test.ts holds the list in server/REFERENCE.md to this one.
 */
const catalogue = {
  RUN_NOT_FOUND: { status: 404, title: 'No such run', hint: 'Run ids are the numbers that enqueue answered with; old runs may have been pruned.' },
  WORKFLOW_NOT_FOUND: { status: 404, title: 'No such workflow', hint: 'Workflow ids are the UUIDs that creating one answered with; old workflows go with their last run.' },
  SCHEDULE_NOT_FOUND: { status: 404, title: 'No such schedule', hint: 'reproq schedules list shows the names there are.' },
  OPERATION_NOT_FOUND: { status: 404, title: 'No such operation', hint: 'reproq operations list shows those there are; old ones are forgotten after 30 days.' },
  WORKER_NOT_FOUND: { status: 404, title: 'No such worker', hint: 'reproq workers list shows those there are.' },
  LIMIT_NOT_FOUND: { status: 404, title: 'No such rate limit', hint: 'reproq limits list (GET /v1/limits) shows the keys there are.' },
  ROUTE_NOT_FOUND: { status: 404, title: 'No such route', hint: 'The routes are listed at /docs.' },
  INVALID_REQUEST: { status: 400, title: 'The request does not have the expected shape', hint: 'Compare it with the schema at /docs.' },
  INVALID_WORKFLOW: { status: 400, title: 'The runs of the workflow cannot wait for each other like that', hint: 'Each node needs a name of its own, and "after" names nodes of the same workflow, without going in a circle.' },
  INVALID_JSON: { status: 400, title: 'The body is not JSON', hint: 'Send one JSON document with content-type: application/json.' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body is not declared as JSON', hint: 'Send content-type: application/json.' },
  INVALID_PAYLOAD: { status: 422, title: 'The payload cannot be stored', hint: 'Postgres keeps JSON without \\u0000, without lone surrogates, with numbers in range and nested at most 64 deep.' },
  INVALID_CRON: { status: 422, title: 'The schedule expression is not valid', hint: 'Five fields: minute hour day-of-month month day-of-week, such as "30 2 * * mon-fri"; or @daily, "@every 5m". Try one: reproq schedules next "<expression>"' },
  INVALID_TIME_ZONE: { status: 422, title: 'The time zone does not exist', hint: 'Zones are named like "Europe/Berlin", "America/New_York" or "UTC".' },
  INVALID_SCHEDULE: { status: 422, title: 'The schedule cannot be fired as it is', hint: 'Correct the row of periodic_tasks; it is tried again as soon as it changes.' },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'The payload is too large', hint: 'Store large data elsewhere and pass a reference, or raise REPROQ_PAYLOAD_BYTES.' },
  BODY_TOO_LARGE: { status: 413, title: 'The request body is too large', hint: 'Enqueue fewer runs per request, or raise REPROQ_BODY_BYTES.' },
  UNAUTHORIZED: { status: 401, title: 'A valid bearer token is needed', hint: 'Send "Authorization: Bearer <token>"; make one with: reproq tokens create' },
  INVALID_LINK: { status: 401, title: 'The link does not open without a token', hint: 'Copy it whole from logs_uri. Links that were revoked stay closed: reproq runs logs <id> (GET /v1/runs/<id>/logs, with a token) shows the same.' },
  FORBIDDEN: { status: 403, title: 'The token does not allow this', hint: 'Make a token with the scope that is named: reproq tokens create --scope …' },
  BROWSER_REFUSED: { status: 403, title: 'Workers do not connect from web pages', hint: 'Requests with an Origin header are refused on the worker endpoint.' },
  UPGRADE_REQUIRED: { status: 426, title: 'This endpoint speaks WebSocket', hint: 'Connect with the subprotocol reproq.worker.v1.' },
  TOO_MANY_CONNECTIONS: { status: 429, title: 'Too many workers are connected', hint: 'Raise REPROQ_MAX_LINKS, or start another broker.' },
  DATABASE_UNAVAILABLE: { status: 503, title: 'The database cannot be reached just now', hint: 'Try again after Retry-After seconds. If the connection broke in the middle, it may have been stored: an idempotency key makes sure of one run.' },
  DRAINING: { status: 503, title: 'The broker is shutting down', hint: 'Try again; another broker or the next start will answer.' },
  DATABASE_REFUSED: { status: 500, title: 'The database refused the statement', hint: 'The broker log has the details under this request id.' },
  INTERNAL: { status: 500, title: 'The broker failed', hint: 'The broker log has the details under this request id.' },
  PUBLIC_BIND_WITHOUT_TOKENS: { status: 500, title: 'Refusing to listen to the network without tokens', hint: 'Make a token first (reproq tokens create), or bind to 127.0.0.1.' },
  PORT_TAKEN: { status: 500, title: 'The port is taken', hint: 'Choose another with --port or REPROQ_PORT.' },
  PG_CRON_UNAVAILABLE: { status: 500, title: 'pg_cron cannot be used in this database', hint: 'Install the extension on the server, add pg_cron to shared_preload_libraries, set cron.database_name to this database, and connect as a user who may create extensions.' },
  INVALID_SETTING: { status: 500, title: 'A setting is not valid', hint: 'reproq config --explain lists settings, values and where each comes from.' },
} as const

export type BrokerErrorCode = keyof typeof catalogue
export const errorCodes = Object.keys(catalogue) as BrokerErrorCode[]

/** An error with a row in the catalogue. `detail` carries the real values. */
export class BrokerError extends Error {
  readonly code: BrokerErrorCode
  readonly status: number
  readonly title: string
  readonly hint: string
  /** Milliseconds after which trying again makes sense. */
  readonly retryAfterMs?: number

  constructor(code: BrokerErrorCode, detail: string, options: { cause?: unknown; retryAfterMs?: number } = {}) {
    super(detail, { cause: options.cause })
    this.name = 'BrokerError'
    this.code = code
    this.status = catalogue[code].status
    this.title = catalogue[code].title
    this.hint = catalogue[code].hint
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs
  }
}
