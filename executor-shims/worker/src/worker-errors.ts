import { ReproqError } from '../../../sdk-ts/src/reproq-error.js'

/** The broker will not have this worker as it is. `code` WORKER_REFUSED. */
export class WorkerRefused extends ReproqError {
  readonly url: string
  /** Status of the upgrade when it was refused over HTTP. */
  readonly status: number | undefined
  /** Code of the WebSocket close when it was refused later. */
  readonly closeCode: number | undefined
  constructor(url: string, reason: string, { status, closeCode }: { status?: number | undefined; closeCode?: number | undefined }) {
    super('WORKER_REFUSED', `The broker at ${url} refused this worker: ${reason}`, { hint: hintFor(status, closeCode) })
    this.name = 'WorkerRefused'
    this.url = url
    this.status = status
    this.closeCode = closeCode
  }
}

function hintFor(status: number | undefined, closeCode: number | undefined): string {
  if (status === 401) return 'Pass a valid token: --token, or REPROQ_TOKEN'
  if (status === 403 || closeCode === 4403) return 'Use a token whose scopes cover these queues'
  if (status === 426 || closeCode === 4406) return 'Worker and broker speak different major versions of the protocol: upgrade the older one'
  if (closeCode === 4409) return 'Another connection has taken over this session; start the worker again'
  if (status === 404) return 'Check the URL: there is something, but no Reproq broker'
  return 'The log of the broker says more'
}
