/** Base of every error this package throws. `code` is stable; `hint` is the line that fixes it. */
export class ReproqError extends Error {
  readonly code: string
  readonly hint: string | undefined
  /** `false`: an attempt that ends with this error is the last one. The worker honours it on any error it sees. */
  readonly retryable?: boolean
  constructor(code: string, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ReproqError'
    this.code = code
    this.hint = options.hint
  }
}
