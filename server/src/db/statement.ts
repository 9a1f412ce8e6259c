import { readFileSync } from 'node:fs'

/** A prepared statement: the text of a `.sql` file, with the types of its parameters and of the row it returns. */
export interface Statement<Params extends unknown[], Row> {
  readonly name: string
  readonly text: string
  /** Only for the compiler. */
  readonly types?: (...params: Params) => Row
}

/** Every statement that was loaded, so that a test can prepare them all. */
export const statements: Statement<never, unknown>[] = []

/** Loads `file` from beside the module that calls. Row values arrive as pg gives them: bigint and json as text. */
export function statement<Params extends unknown[], Row>(callerUrl: string, file: string): Statement<Params, Row> {
  const loaded: Statement<Params, Row> = { name: `reproq_${file.replace(/\.sql$/, '')}`, text: readFileSync(new URL(file, callerUrl), 'utf8') }
  statements.push(loaded as Statement<never, unknown>)
  return loaded
}
