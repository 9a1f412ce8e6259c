/** Text cut to a length and made fit for a frame and for Postgres: what is no character becomes U+FFFD. */
export function storable(text: string, maxLength: number): string {
  return text.slice(0, maxLength).replace(/[\0\p{Surrogate}]/gu, '\ufffd')
}
