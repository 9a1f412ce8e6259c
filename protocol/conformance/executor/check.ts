import type { Subject } from './subject.js'

/** One requirement of executor-shims/CONTRACT.md, tried out on a real process. */
export interface Check<S = Subject> {
  /** The requirement, such as RQ-EXEC-010. */
  id: string
  /** What is promised, as a sentence. */
  says: string
  level: Level
  /** `should`: an executor that does not is warned about, and conforms. */
  strength: 'must' | 'should'
  /** The test tasks it needs, without `conformance.`. */
  tasks: readonly string[]
  /** Throws what is wrong. */
  run(subject: S): Promise<void>
}

export const LEVELS = ['core', 'full'] as const
export type Level = (typeof LEVELS)[number]

export interface Verdict {
  id: string
  says: string
  verdict: 'pass' | 'fail' | 'warn' | 'skip'
  /** What was seen, unless it passed. */
  evidence?: string
}

export interface Choice {
  level: Level
  /** Test tasks the executor does not have. */
  without: ReadonlySet<string>
}

export async function judge<S>(checks: readonly Check<S>[], subject: S, { level, without }: Choice, told: (verdict: Verdict) => void): Promise<void> {
  for (const check of checks) {
    const { id, says } = check
    const missing = check.tasks.filter((task) => without.has(task))
    if (missing.length > 0) told({ id, says, verdict: 'skip', evidence: `it has no test task ${missing.join(', ')}` })
    else if (level === 'full' || check.level === 'core') told({ id, says, ...(await outcome(check, subject)) })
  }
}

async function outcome<S>({ run, strength }: Check<S>, subject: S): Promise<Pick<Verdict, 'verdict' | 'evidence'>> {
  try {
    await run(subject)
    return { verdict: 'pass' }
  } catch (error) {
    return { verdict: strength === 'must' ? 'fail' : 'warn', evidence: error instanceof Error ? error.message : String(error) }
  }
}

export function expect(isSo: boolean, otherwise: string): asserts isSo {
  if (!isSo) throw new Error(otherwise)
}

export function equal(actual: unknown, expected: unknown, what: string): void {
  const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)]
  expect(found === wanted, `${what} is ${found?.slice(0, 300)}, not ${wanted?.slice(0, 300)}`)
}
