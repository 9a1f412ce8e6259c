import { isDeepStrictEqual } from 'node:util'
import { failure } from './failure.js'

export interface Package {
  type?: string
  scripts?: Record<string, string>
}

/** Throws INVALID_PACKAGE_JSON. */
export function packageOf(text: string): Package {
  try {
    const content: unknown = JSON.parse(text)
    if (typeof content === 'object' && content !== null && !Array.isArray(content)) return content
  } catch (error) {
    throw failure('INVALID_PACKAGE_JSON', `package.json is not JSON: ${(error as Error).message}`, 'mend it; npm needs it, too')
  }
  throw failure('INVALID_PACKAGE_JSON', 'package.json is not an object', 'write it anew: rm package.json && npm init -y')
}

/** The text of a package.json with one more script; what is there keeps its order, its spaces and its line ends. */
export function withScript(text: string, name: string, command: string): string {
  const before = packageOf(text)
  const wanted = { ...before, scripts: { ...before.scripts, [name]: command } }
  const indent = /\n([ \t]+)"/.exec(text)?.[1] ?? '  '
  const end = text.includes('\r\n') ? '\r\n' : '\n'
  const entry = `${JSON.stringify(name)}: ${JSON.stringify(command)}`
  const edited = before.scripts ? intoScripts(text, entry, indent, end) : atTheEnd(text, `"scripts": {${end}${indent}${indent}${entry}${end}${indent}}`, indent, end)
  if (isObject(edited, wanted)) return edited
  // Written in a way that cannot be told apart by its text, such as an earlier "scripts" of some tool.
  return JSON.stringify(wanted, null, indent).replaceAll('\n', end) + (/\s*$/.exec(text)?.[0] ?? '')
}

/** Up to the closing brace: texts, which may have braces in them, and what stands between them. */
const SCRIPTS = /("scripts"\s*:\s*\{)(\s*)((?:"(?:[^"\\]|\\.)*"|[^"{}])*?)(\s*\})/

function intoScripts(text: string, entry: string, indent: string, end: string): string {
  return text.replace(SCRIPTS, (_, open: string, gap: string, entries: string, close: string) =>
    entries === '' ? `${open}${end}${indent}${indent}${entry}${end}${indent}}` : `${open}${gap}${entries},${gap}${entry}${close}`)
}

function atTheEnd(text: string, entry: string, indent: string, end: string): string {
  return text.replace(/(\{?)\s*\}(\s*)$/, (_, open: string, rest: string) => `${open}${open === '' ? ',' : ''}${end}${indent}${entry}${end}}${rest}`)
}

function isObject(text: string, wanted: object): boolean {
  try {
    return isDeepStrictEqual(JSON.parse(text), wanted)
  } catch {
    return false
  }
}
