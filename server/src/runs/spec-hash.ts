import { hash } from 'node:crypto'
import { canonicalJson } from '../../../protocol/src/index.js'

/**
 * Reproq's `spec_hash`: two enqueues with the same hash are the same run, whoever makes them. It is of text: a parsed
 * number has forgotten whether it was written 1 or 1.0, and the two hash differently.
 */
export function specHash(text: string): string {
  return hashOfCanonical(canonicalJson(text))
}

/** The hash of what is canonical already. */
export function hashOfCanonical(canonical: string): string {
  return hash('sha256', canonical, 'hex')
}
