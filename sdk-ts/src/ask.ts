/** One request to the broker. `repeatable` (default): asking twice does no harm, so it is asked again while the broker is away. */
export type Ask = <Answer>(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, options?: { body?: unknown; repeatable?: boolean }) => Promise<Answer>

/** What is undefined is left out. */
export function query(fields: Record<string, string | number | undefined>): URLSearchParams {
  const given = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as [string, string]]))
  return new URLSearchParams(given)
}
