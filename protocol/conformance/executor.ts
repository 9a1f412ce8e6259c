#!/usr/bin/env node
// Does an executor keep executor-shims/CONTRACT.md? Runs its command in every way a worker does, and reports by requirement.
import { parseArgs } from 'node:util'
import { judge, LEVELS, type Level, type Verdict } from './executor/check.js'
import { loopChecks } from './executor/loop-checks.js'
import { oneShotChecks } from './executor/one-shot-checks.js'
import { zygoteChecks } from './executor/zygote-checks.js'
import { setPatience } from './executor/within.js'
import { Subject, type SubjectOptions } from './executor/subject.js'

const HELP = `Usage: node executor.js [options] -- <command of the executor…>

  --mode one-shot|loop|zygote   which contract it keeps (default: one-shot)
  --level core|full             core: what the smallest executor can do (default: full)
  --without <tasks>             test tasks it does not have, separated by commas; what needs them is skipped
  --cwd <folder>                where it runs
  --env <NAME=VALUE>            a variable for it; repeat it for more
  --patience <ms>               how long anything may take (default: 10000)
  --json                        the report as JSON

The executor must have the test tasks that executor-shims/CONTRACT.md lists.
Exit status: 0 it conforms, 1 it does not, 2 this command was not understood.
`

/** What a zygote forks keeps the one-shot contract. */
const CHECKS = { 'one-shot': oneShotChecks, loop: loopChecks, zygote: [...zygoteChecks, ...oneShotChecks] }
const MODES = ['one-shot', 'loop', 'zygote'] as const

interface Request extends SubjectOptions {
  level: Level
  without: ReadonlySet<string>
  json: boolean
  patienceMs: number
}

const request = requestOf(process.argv.slice(2))
if (request === undefined) {
  process.stderr.write(HELP)
  process.exit(2)
}
process.exit(await examine(request))

async function examine({ level, without, json, patienceMs, ...options }: Request): Promise<number> {
  setPatience(patienceMs)
  const subject = new Subject(options)
  const verdicts: Verdict[] = []
  const told = (verdict: Verdict) => {
    verdicts.push(verdict)
    if (!json) process.stdout.write(lineOf(verdict))
  }
  try {
    await judge(CHECKS[options.mode], subject, { level, without }, told)
  } finally {
    await subject.end()
  }
  const count = (verdict: Verdict['verdict']) => verdicts.filter((each) => each.verdict === verdict).length
  const summary = { passed: count('pass'), failed: count('fail'), warnings: count('warn'), skipped: count('skip') }
  const report = { command: options.command, mode: options.mode, level, ...summary, verdicts }
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : `\n${Object.entries(summary).map(([what, n]) => `${n} ${what}`).join(', ')}\n`)
  return summary.failed === 0 && summary.passed > 0 ? 0 : 1
}

function lineOf({ id, says, verdict, evidence }: Verdict): string {
  return `${verdict.padEnd(4)}  ${id}  ${says}${evidence === undefined ? '' : `\n      ${evidence.replaceAll('\n', '\n      ')}`}\n`
}

function requestOf(args: string[]): Request | undefined {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        mode: { type: 'string', default: 'one-shot' },
        level: { type: 'string', default: 'full' },
        without: { type: 'string', default: '' },
        cwd: { type: 'string' },
        env: { type: 'string', multiple: true, default: [] },
        patience: { type: 'string', default: '10000' },
        json: { type: 'boolean', default: false },
      },
    })
    const patienceMs = Number(values.patience)
    const mode = MODES.find((each) => each === values.mode)
    const level = LEVELS.find((each) => each === values.level)
    if (mode === undefined || level === undefined || positionals.length === 0 || !(patienceMs > 0)) return undefined
    const env = Object.fromEntries(values.env.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]))
    return { mode, level, command: positionals, cwd: values.cwd, env, json: values.json, patienceMs, without: new Set(values.without.split(',').filter((task) => task !== '')) }
  } catch {
    return undefined
  }
}
