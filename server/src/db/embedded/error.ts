/** Why the bundled PostgreSQL could not serve. The message carries the real values and the way out. */
export type EmbeddedErrorCode =
  | 'EMBEDDED_UNSUPPORTED'
  | 'EMBEDDED_NO_ACCOUNT'
  | 'EMBEDDED_FOLDER'
  | 'EMBEDDED_BUSY'
  | 'EMBEDDED_START_FAILED'
  | 'EMBEDDED_STOP_FAILED'

export class EmbeddedError extends Error {
  override name = 'EmbeddedError'
  readonly code: EmbeddedErrorCode

  constructor(code: EmbeddedErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Every failure here has the same way out: a Postgres that somebody else runs. */
export const WAYS_OUT = [
  'Ways out:',
  '  - set DATABASE_URL to a PostgreSQL you run (14 to 18), for example postgres://user:password@localhost:5432/postgres',
  '  - start one in a container and set DATABASE_URL to it',
  '  - use a platform the bundled PostgreSQL is built for: Linux (glibc) x64/arm64, macOS x64/arm64, Windows x64',
].join('\n')
