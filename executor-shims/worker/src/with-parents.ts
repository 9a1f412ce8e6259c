import type { Assignment } from './executor.js'

/**
 * The assignment with what is known of its parents in its spec, where executors of every language look: the member `parents`,
 * or `parents_error` when that would be too much. Nearly every run has none, and is left as it is.
 */
export function withParents(assignment: Assignment): Assignment {
  const { parents, parents_error, spec } = assignment
  const member = parents !== undefined ? `"parents":${parents}` : parents_error !== undefined ? `"parents_error":${JSON.stringify(parents_error)}` : undefined
  if (member === undefined) return assignment
  const end = spec.lastIndexOf('}')
  const isEmpty = /^\s*\{\s*$/.test(spec.slice(0, end))
  return { ...assignment, spec: `${spec.slice(0, end)}${isEmpty ? '' : ','}${member}}` }
}
