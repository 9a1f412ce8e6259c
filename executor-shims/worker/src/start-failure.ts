import type { Exit } from './process-group.js'

/** A warm executor that did not come about. The end of its stderr says why. */
export class StartFailure extends Error {
  readonly code: string | undefined
  readonly stderr: string

  constructor(reason: string | Error, stderr: string) {
    super(typeof reason === 'string' ? reason : reason.message, { cause: reason })
    this.name = 'StartFailure'
    this.code = typeof reason === 'string' ? undefined : (reason as NodeJS.ErrnoException).code
    this.stderr = stderr
  }

  static ofExit({ code, signal }: Exit, stderr: string): StartFailure {
    const how = signal === undefined ? `ended with exit code ${code ?? '?'}` : `died of ${signal}`
    const lastLine = stderr.trimEnd().split('\n').at(-1)?.trim()
    return new StartFailure(`it ${how} before it was ready${lastLine ? `: ${lastLine}` : ''}`, stderr)
  }
}
