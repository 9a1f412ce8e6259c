/** Postgres stores neither NUL nor half a surrogate pair; text for people must never be refused for that. */
export function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd')
}
